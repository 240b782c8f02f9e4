"""`aqr-exp same`: whether a difference of code changes any bit of two runs."""

from typing import Annotated

from aqr_exp.cli import completion, console
from aqr_exp.errors import RequestError
from aqr_exp.launch.preflight import check_packages
from aqr_exp.launch.same_code import compare_code
from aqr_exp.store.collect import intact_row
from aqr_exp.store.store import Store, results_root

HELP = """
The configurations of both runs make two steps with the code of each, on the CPU with one thread. The
answer is kept among the results: where all losses and weights are the same to the bit, tables say so in
place of the confounder. The code of a run is this package, or is taken from its git repository.

\b
Examples:
  aqr-exp same my_gain-1a2b3c4d5e6f-s0 baseline-1a2b3c4d5e6f-s0
"""

RUN = ("A run's name, or its beginning when unambiguous.", completion.run_names)


def command(
    ours: Annotated[str, console.argument("A", *RUN)],
    theirs: Annotated[str, console.argument("B", *RUN)],
    as_json: console.Json = False,
) -> int:
    """Settle a difference of code; returns 0 where all bits agree, else 1."""
    store = Store(results_root())
    rows = [intact_row(store.find(name)) for name in (ours, theirs)]
    if any(row.imported for row in rows):
        raise RequestError("an imported run has no weights and no configuration here")
    check_packages("the comparison")
    same, files = compare_code(rows[0], rows[1], store)
    if as_json:
        console.print_json({"same": same, "files": files})
    else:
        console.data(
            f"{'same bits' if same else 'other bits'} (tested on two steps of both): {files}"
        )
    return 0 if same else 1
