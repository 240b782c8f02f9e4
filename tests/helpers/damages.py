"""Damages to a file or a folder, as disks, copies, synchronising tools and hands make them."""

import os
import random
import shutil
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path


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
    """To itself, to nothing, to an endless device, to a file of the system, to what it was elsewhere."""
    outside = Path(tempfile.mkdtemp(prefix="aqr-soak-")) / path.name
    path.rename(outside)
    path.symlink_to(
        draw.choice([path.name, "nothing", "/dev/zero", "/etc/passwd", "..", str(outside)])
    )


def become_loop(path: Path, draw: random.Random) -> None:
    """Two links, each to the other."""
    path.unlink()
    other = path.with_name(draw.choice(["other", f".{path.name}.12.0123456789abcdef.tmp"]))
    path.symlink_to(other.name)
    other.symlink_to(path.name)


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
    become_loop,
    become_unlike,
)


def remove_folder(path: Path, draw: random.Random) -> None:
    shutil.rmtree(path)


def empty_folder(path: Path, draw: random.Random) -> None:
    shutil.rmtree(path)
    path.mkdir()


def folder_becomes_file(path: Path, draw: random.Random) -> None:
    shutil.rmtree(path)
    path.write_bytes(draw.choice([b"", b"{}", b"\0" * 100]))


def folder_becomes_pipe(path: Path, draw: random.Random) -> None:
    shutil.rmtree(path)
    os.mkfifo(path)


def folder_becomes_link(path: Path, draw: random.Random) -> None:
    """To itself, to what it was elsewhere, to what it lies in, to a folder of the system."""
    outside = Path(tempfile.mkdtemp(prefix="aqr-soak-")) / path.name
    path.rename(outside)
    path.symlink_to(draw.choice([path.name, str(outside), str(outside), "..", "/etc"]))


FOLDERS: tuple[Callable[[Path, random.Random], None], ...] = (
    remove_folder,
    empty_folder,
    folder_becomes_file,
    folder_becomes_pipe,
    folder_becomes_link,
    folder_becomes_link,
)
