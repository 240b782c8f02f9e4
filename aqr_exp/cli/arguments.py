"""Arguments that several commands share, so that they are described once."""

from typing import Annotated

import typer

Variant = Annotated[str, typer.Argument(help="The variant, such as baseline.", metavar="VARIANT")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Changes, as key=value or group=option.", metavar="[OVERRIDES]..."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
RunName = Annotated[
    str, typer.Argument(help="The run's name, or its beginning when unambiguous.", metavar="RUN")
]
Slots = Annotated[
    int | None,
    typer.Option("--slots", help="Runs side by side; one a GPU or a core without.", min=1),
]
Detach = Annotated[
    bool, typer.Option("--detach", help="Go on when the terminal closes, and return at once.")
]
