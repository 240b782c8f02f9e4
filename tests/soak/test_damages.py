"""Random damages to any file of a store: every command ends, and no number changes without a name.

A damage draws a file of the store (runs, sweeps, caches) and does to it what disks, copies, synchronising
tools and hands do: bits that flip, ends that are lost, files of other runs in its place, links, pipes,
folders. Afterwards each reading command is asked; its numbers are those of the undamaged store, or those
without the damaged runs, which are then named.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from made_up_runs import make_data_set, make_run

from aqr_exp.cli.main import main
from aqr_exp.store.store import Store
from aqr_exp.store.sweep_folder import SweepEntry

ENDS_WITHIN_S = 60
VARIANTS = ("baseline", "attention_bias")
READERS: tuple[tuple[str, ...], ...] = (
    ("list",),
    ("list", "--json"),
    ("table",),
    ("table", "--format", "csv"),
    ("table", "--format", "html"),
    ("watch", "--once"),
    ("watch", "ours", "--once"),
    ("compare", "baseline-", "attention_bias-", "--resamples", "100"),
)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight completed runs of two variants in a sweep, and one that failed; every cache is filled."""
    root = tmp_path_factory.mktemp("store") / "re sults; echo"
    data, store = make_data_set(root.parent / "data"), Store(root)
    runs = [make_run(store, data, seed, variant=name) for seed in range(4) for name in VARIANTS]
    failed = make_run(store, data, 9)
    failed.write_state("failed", reason="the loss is not finite at step 3 (loss)")
    store.sweep("ours").write_plan(
        [
            SweepEntry(
                name=run.name, variant=run.name.partition("-")[0], overrides=(), seed=index // 2
            )
            for index, run in enumerate(runs)
        ]
    )
    return root


class Shop:
    """A store to be damaged, and what its commands said before."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.store, self.whole, self._capsys = Store(root), root.with_name("whole"), capsys
        self._without: dict[frozenset[str], list[dict]] = {}
        self.listed = {row["name"]: row for row in self.json("list", "--json")}
        for command in READERS:
            assert self.run(*command)[0] == 0, command
        shutil.copytree(root, self.whole, symlinks=True)

    def run(self, *arguments: str, root: Path | None = None) -> tuple[int, str, str]:
        """Exit code and both streams of a command, which ends."""
        os.environ["AQR_EXP_RESULTS"] = str(root or self.store.root)
        with ends_within(ENDS_WITHIN_S, arguments):
            code = main([*arguments])
        out, err = self._capsys.readouterr()
        assert "internal error" not in err, (arguments, err)
        assert "Traceback" not in out + err, (arguments, err)
        assert code == 0 or (code in {1, 2} and err.count("\n") == 1), (arguments, code, err)
        return code, out, err

    def json(self, *arguments: str, root: Path | None = None) -> Any:
        code, out, err = self.run(*arguments, root=root)
        assert code == 0, (arguments, err)
        return json.loads(out)

    def rows_without(self, names: frozenset[str]) -> list[dict]:
        """The table of the undamaged store without some runs."""
        if names not in self._without:
            some = self.whole.with_name("some")
            shutil.copytree(self.whole, some, ignore=lambda *_: names)
            self._without[names] = self.json("table", "--format", "json", root=some)["rows"]
            shutil.rmtree(some)
        return self._without[names]

    def make_whole(self) -> None:
        """Undo every damage."""
        shutil.rmtree(self.store.root)
        shutil.copytree(self.whole, self.store.root, symlinks=True)


@contextlib.contextmanager
def ends_within(limit_s: int, what: object) -> Iterator[None]:
    """Fail where something takes longer."""

    def overdue(number: int, frame: object) -> None:
        raise AssertionError(f"{what}: has not ended after {limit_s} s")

    before = signal.signal(signal.SIGALRM, overdue)
    signal.alarm(limit_s)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def cut(path: Path, draw: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: draw.randrange(len(content) + 1)])


def flip(path: Path, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(draw.choice([1, 1, 8])):
        if content:
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def zero(path: Path, draw: random.Random) -> None:
    """As a file system leaves blocks that it had promised and not written."""
    content = bytearray(path.read_bytes())
    start = draw.randrange(len(content) + 1)
    content[start : start + 4096] = bytes(len(content[start : start + 4096]))
    path.write_bytes(content)


def append(path: Path, draw: random.Random) -> None:
    with path.open("ab") as file:
        file.write(draw.choice([b"\n", b"}", b"\0" * 512, b'{"mAP": 1}\n', b"\xff\xfe"]))


def remove(path: Path, draw: random.Random) -> None:
    path.unlink()


def become_folder(path: Path, draw: random.Random) -> None:
    path.unlink()
    path.mkdir()
    if draw.random() < 0.5:
        (path / "file").write_text("x")


def become_pipe(path: Path, draw: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


def become_socket(path: Path, draw: random.Random) -> None:
    path.unlink()
    short = Path("/tmp") / f"aqr-soak-{os.getpid()}"  # noqa: S108 - a socket's path is at most 107 bytes
    short.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(short))
    shutil.move(short, path)


def become_link(path: Path, draw: random.Random) -> None:
    """To itself, to nothing, to an endless device, to a file of the system."""
    path.unlink()
    path.symlink_to(draw.choice([path.name, "nothing", "/dev/zero", "/etc/passwd", ".."]))


def become_unlike(path: Path, draw: random.Random) -> None:
    """Content that somebody else's tools might put there."""
    path.write_bytes(
        draw.choice(
            [
                b'{"mAP": 0.99, "NDS": 0.99, "split": "mini_val"}\n',
                b"[" * 100_000,
                b'{"mAP": ' + b"9" * 400 + b"}",
                b"<!doctype html><title>404</title>",
                b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
                b"!!python/object/apply:os.system ['true']\n",
                b'{"mAP": NaN, "status": "completed", "attempt": 1, "updated": "2026"}',
                "\N{BYTE ORDER MARK}{}".encode(),
            ]
        )
    )


ALONE: tuple[Callable[[Path, random.Random], None], ...] = (
    cut,
    flip,
    flip,
    zero,
    append,
    remove,
    become_folder,
    become_pipe,
    become_socket,
    become_link,
    become_unlike,
)


def damage(shop: Shop, draw: random.Random) -> tuple[str, frozenset[str]]:
    """Damage one file, or put one in another's place; returns what was done, and to which runs."""
    files = sorted(path for path in shop.store.root.rglob("*") if path.is_file())
    of_kind: dict[str, list[Path]] = {}
    for path in files:
        of_kind.setdefault(_kind(shop.store, path), []).append(path)
    path = draw.choice(of_kind[draw.choice(sorted(of_kind))])
    runs = _runs(shop.store, path)
    if draw.random() < 0.7:
        one = draw.choice(ALONE)
        one(path, draw)
        return f"{one.__name__} {path}", runs
    # Of the same kind, of another run, or of any kind.
    same = [other for other in of_kind[_kind(shop.store, path)] if other != path]
    other = draw.choice(same if same and draw.random() < 0.8 else files)
    how = draw.choice(["copy", "swap", "link"])
    content = path.read_bytes()
    if how == "link":
        path.unlink()
        path.hardlink_to(other) if draw.random() < 0.5 else path.symlink_to(other)
    else:
        path.write_bytes(other.read_bytes())
        if how == "swap":
            other.write_bytes(content)
            runs |= _runs(shop.store, other)
    return f"{how} {path} and {other}", runs


def litter(shop: Shop, draw: random.Random) -> tuple[str, frozenset[str]]:
    """Put something that nobody here wrote into a folder of the store."""
    folders = [shop.store.root, *sorted(p for p in shop.store.root.rglob("*") if p.is_dir())]
    folder = draw.choice(folders)
    name = draw.choice(
        [
            ".nfs000001",
            ".DS_Store",
            "Thumbs.db",
            "lost+found",
            "a\nb",
            "\x1b[31m",
            "x" * 200,
            ".x.tmp",
        ]
    )
    path = folder / name
    what = draw.choice(["file", "folder", "pipe", "loop"])
    if what == "file":
        path.write_bytes(b"\0\1\2")
    elif what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path.name)
    return f"{what} {path}", frozenset()


def _kind(store: Store, path: Path) -> str:
    """Where in a store a file lies, whatever run or sweep it is of."""
    parts = list(path.relative_to(store.root).parts)
    if parts[0] in {"runs", "sweeps"} and len(parts) > 2:
        parts[1] = "*"
    return "/".join([*parts[:-1], parts[-1] if len(parts) < 4 else path.suffix])


def _runs(store: Store, path: Path) -> frozenset[str]:
    parts = path.relative_to(store.root).parts
    return frozenset(parts[1:2]) if parts[0] == "runs" else frozenset()


def assert_honest(shop: Shop, what: str, runs: frozenset[str]) -> None:
    """No number differs from the undamaged store's but of damaged runs, which are named."""
    listed = {row["name"]: row for row in shop.json("list", "--json")}
    for name, before in shop.listed.items():
        found = listed.get(name)
        if found is None:
            assert name in runs, (what, name)
            continue
        same = all(found[key] == before[key] for key in ("mAP", "NDS", "variant", "seed"))
        if not (same and found["status"] == before["status"]):
            assert name in runs, (what, name, found, before)
            assert found["mAP"] is None, (what, found)
            assert found["status"] == "damaged", (what, found)
    damaged = frozenset(name for name, row in listed.items() if row["status"] == "damaged")
    gone = damaged | (shop.listed.keys() - listed.keys())
    table = shop.json("table", "--format", "json")
    assert table["rows"] == shop.rows_without(gone), (what, table["rows"])
    assert all(name in "\n".join(table["notes"]) for name in damaged), (what, table["notes"])
    for command in (*READERS, *(("show", name) for name in runs)):
        shop.run(*command)
    for name in runs:
        shop.run("show", name, "--json")


def campaign(
    original: Path, root: Path, capsys: pytest.CaptureFixture[str], seed: int, count: int
) -> None:
    """Damage a copy of a store as often, each time made whole before."""
    draw = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    shutil.copytree(original, root)
    shop = Shop(root, capsys)
    for number in range(count):
        what, runs = (litter if draw.random() < 0.15 else damage)(shop, draw)
        print(f"damage {number} of seed {seed}: {what}", file=sys.stderr)  # noqa: T201
        assert_honest(shop, what, runs)
        shop.make_whole()


@pytest.mark.parametrize("seed", range(2))
def test_of_twenty_damages_none_hangs_crashes_or_changes_a_number(
    original: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    seed: int,
) -> None:
    monkeypatch.setenv("AQR_EXP_RESULTS", "set by each command")
    campaign(original, tmp_path / "results", capsys, seed, 20)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 120))
def test_of_a_thousand_damages_none_hangs_crashes_or_changes_a_number(
    original: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    seed: int,
) -> None:
    monkeypatch.setenv("AQR_EXP_RESULTS", "set by each command")
    campaign(original, tmp_path / "results", capsys, seed, 50)
