"""Files that others made: their real kind, and pickles read without executing anything in them."""

import contextlib
import errno
import io
import pickle
import re
import resource
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aqr_exp.errors import AqrExpError, RequestError
from aqr_exp.files.reading import open_regular, read_content
from aqr_exp.files.text import printable

# What downloads and copies put in the place of a file: where its mark is, the mark, and its name.
_MARKS = (
    (0, b"version https://git-lfs", "is a Git LFS pointer: `git lfs pull` fetches the file itself"),
    (0, b"\x1f\x8b", "is compressed with gzip: unpack it"),
    (0, b"\x89HDF", "is an HDF5 file"),
    (0, b"\x93NUMPY", "is a NumPy array"),
    (8, b'{"', "is a safetensors file"),
    (257, b"ustar", "is a tar archive"),
)
_PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype|html|head|body|\?xml|!--)", re.IGNORECASE)
# The first number of the several pickles that torch wrote before its archives.
_EARLY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def disguise(path: Path) -> str | None:
    """The real kind of a file that can be neither a pickle nor an archive; None for one that can.

    Raises:
        OSError: It is missing or cannot be read.
    """
    try:
        with open_regular(path) as file:
            head = file.read(512)
    except OSError as error:
        if error.errno == errno.EINVAL and error.strerror:
            return error.strerror.removeprefix("it ")
        raise
    if not head.strip(b"\0"):
        return "holds nothing but zeros" if head else "is empty"
    if _PAGE.match(head):
        return "is a web page, not what was to be fetched from there"
    for place, mark, name in _MARKS:
        if head[place:].startswith(mark):
            return name
    # Text has no such bytes; pickles and archives have one at their very beginning.
    return None if any(byte < 32 and byte not in b"\t\n\r\f" for byte in head) else "is a text file"


def checkpoint_fault(path: Path) -> str | None:
    """The reason why a file is no checkpoint of torch with nothing but data in it; None for one.

    Raises:
        OSError: It is missing or cannot be read.
    """
    if known := disguise(path):
        return known
    with open_regular(path) as file:
        if file.read(len(_EARLY_TORCH)) == _EARLY_TORCH:
            return None
        try:
            with zipfile.ZipFile(file) as archive:
                members = [item for item in archive.infolist() if not item.compress_type]
                (found,) = (item for item in members if item.filename.endswith("/data.pkl"))
                content = archive.read(found)
        except zipfile.BadZipFile:
            return "is no whole archive: its end is missing or damaged"
        except (ValueError, RuntimeError, EOFError):
            return "is some other archive, not a checkpoint"
    try:
        outline = _load(_OutlineUnpickler, content)
    except ValueError as error:
        return str(error)
    return None if isinstance(outline, dict) and outline else "holds no state dict"


def read_pickle(path: Path) -> Any:
    """Values of a pickle of lists, dicts, text, numbers and NumPy arrays, which become nested lists.

    Nothing in it is executed, and it can take no more memory than such a file of its size needs.

    Raises:
        RequestError: It is missing, damaged or something else; names it and says what.
    """
    try:
        if (fault := disguise(path)) is None:
            content = read_content(path)
            if content[:1] == b"\x80" and content[-1:] == b".":
                return _load(_PlainUnpickler, content)
            fault = "is damaged: its end is missing" if content[:1] == b"\x80" else "is no pickle"
    except OSError as error:
        fault = "is missing" if error.errno == errno.ENOENT else f"cannot be read: {error.strerror}"
    except (ValueError, AqrExpError) as error:
        fault = str(error).removeprefix(f"{path} ")
    raise RequestError(f"{path} {fault}")


def _load(kind: type[pickle.Unpickler], content: bytes) -> Any:
    try:
        with _bounded_memory(len(content)):
            return kind(io.BytesIO(content)).load()
    except pickle.UnpicklingError as error:
        raise ValueError(f"is damaged: {printable(str(error))[:90]}") from None
    # A damaged pickle asks for anything: the unpickler fails as its instructions do.
    except Exception as error:
        raise ValueError(f"is damaged: {type(error).__name__}") from None


_BOUNDING = threading.Lock()


@contextlib.contextmanager
def _bounded_memory(size: int) -> Iterator[None]:
    """Let this process take no more memory than a pickle needs: dicts take six times its bytes."""
    import psutil

    with _BOUNDING:  # the bound is the process's, and each thread must find it as it was
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        limits = (psutil.Process().memory_info().vms + 16 * size + (1 << 30), soft, hard)
        least = min(limit for limit in limits if limit != resource.RLIM_INFINITY)
        resource.setrlimit(resource.RLIMIT_AS, (least, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


class _Kind:
    """A NumPy dtype of numbers or text, as a pickle makes it: its name, then its byte order."""

    def __init__(self, name: str, *_: Any) -> None:
        self.name = name
        if not re.fullmatch(r"[biufUS]\d{1,9}", name):
            raise pickle.UnpicklingError(f"holds an array of {ascii(name)[:20]}, not of numbers")

    def __setstate__(self, state: Any) -> None:
        self.name = state[1].strip("|") + self.name


class _Array(list[Any]):
    """A NumPy array as nested lists, as a pickle makes it: empty, then filled."""

    def __init__(self, *_: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        shape, kind, by_column, raw = state[-4:]
        self[:] = _values(raw, kind, shape, "F" if by_column else "C")


def _values(raw: Any, kind: _Kind, shape: Any, order: Any = "C") -> Any:
    import numpy as np

    return np.frombuffer(bytes(raw), np.dtype(kind.name)).reshape(shape, order=order).tolist()


class _PlainUnpickler(pickle.Unpickler):  # noqa: S301 - plain values only
    """Unpickler that gives a pickle nothing to call or to change but these."""

    def find_class(self, module: str, name: str) -> Any:
        path = f"{module.replace('numpy._core', 'numpy.core')}.{name}"
        known = {
            "collections.OrderedDict": dict,
            "_codecs.encode": str.encode,
            "__builtin__.bytes": bytes,
            "numpy.ndarray": None,
            "numpy.dtype": _Kind,
            "numpy.core.multiarray._reconstruct": _Array,
            "numpy.core.multiarray.scalar": self._scalar,
            "numpy.core.numeric._frombuffer": self._filled,
        }
        if path not in known:
            raise _refused(path)
        return known[path]

    # Bound methods, for nothing can be set on them.
    def _scalar(self, kind: _Kind, raw: bytes) -> Any:
        return _values(raw, kind, ())

    def _filled(self, *arguments: Any) -> Any:
        return _values(*arguments)


BESIDE_WEIGHTS = (
    *("builtins.getattr", "mmengine.logging.history_buffer.HistoryBuffer"),
    *("numpy.dtype", "numpy.ndarray"),
    *("numpy.core.multiarray._reconstruct", "numpy.core.multiarray.scalar"),
    *("numpy._core.multiarray._reconstruct", "numpy._core.multiarray.scalar"),
)
"""What mmengine's checkpoints hold besides tensors and plain values; readers of weights pass it over."""
_OF_WEIGHTS = re.compile(r"torch\..+|collections\.\w+|_codecs\.encode|builtins\.(set|bytearray)")


class PassedOver(dict[Any, Any]):
    """Stands for an object that is not made; takes whatever a pickle does with it."""

    def __init__(self, *_: Any) -> None:
        super().__init__()

    def __setstate__(self, _: Any) -> None:
        pass


class _OutlineUnpickler(pickle.Unpickler):  # noqa: S301 - no object is made
    """Unpickler of a checkpoint's content without its tensors."""

    def find_class(self, module: str, name: str) -> Any:
        path = f"{module.replace('__builtin__', 'builtins')}.{name}"
        if path not in BESIDE_WEIGHTS and not _OF_WEIGHTS.fullmatch(path):
            raise _refused(path)
        return PassedOver

    def persistent_load(self, _: Any) -> Any:
        return PassedOver()


def _refused(path: str) -> pickle.UnpicklingError:
    return pickle.UnpicklingError(f"holds {ascii(path)[:60]}, which is no data")
