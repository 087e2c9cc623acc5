"""Files that torch.save wrote, by anybody: opened without running what they say, in memory that they account for.

weights_only=True keeps a pickle from running anything. What is left: archives that unpack to more than they are, bits that
flipped in them, tensors that are none (of other layouts or devices) or claim more numbers than they store.
"""

import io
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from codec.types import UserError, shown

NESTED = ("state_dict", "model_state_dict", "network", "model", "net", "ema_state_dict")  # of training dictionaries
MOST_NESTED = 4
ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
ZIP = b"PK\x03\x04"


def _check_archive(path: Path) -> None:
    """Raise ValueError for a zip archive that unpacks to more than it is, or whose checksums do not fit."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.filename.endswith("/constants.pkl") for entry in entries):
            raise ValueError("it is a TorchScript archive, which is a program")
        packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
        if packed or sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise ValueError("its parts are compressed")
        if broken := archive.testzip():
            raise ValueError(f"the checksum of {broken} does not fit")


def read_saved(path: Path, expected: str) -> Any:
    """What torch.save wrote to `path`: plain values and tensors on the CPU, of which the file itself is the memory.

    expected: what the file should be, for messages.
    Raises UserError, in one line, for a file that is missing, damaged, cut, or holds anything that would have to be run.
    """
    if not os.path.isfile(path):
        raise UserError(f"no file at {path}; expected {expected}; check the path")
    with path.open("rb") as file:
        is_archive = file.read(len(ZIP)) == ZIP
    try:
        if is_archive:
            _check_archive(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles by other protocols, of types that will go: of no use to anybody here
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive)
    except Exception as error:  # whatever its bytes lead an unpickler into, it is the file that is wrong
        if isinstance(error, pickle.UnpicklingError):  # of which torch says how to run what the file says
            raise UserError(f"{path} {what_is_foreign(path, is_archive)}; expected {expected}") from None
        raise UserError(f"{path} cannot be read ({_first_sentence(error)}); expected {expected}; get it again") from None


def _first_sentence(error: Exception) -> str:
    said = ESCAPES.sub("", str(error)).strip().splitlines() or [type(error).__name__]
    sentence = re.split(r"(?<=[.;:!]) ", said[0])[0].rstrip(".;:")
    return shown(sentence) if len(sentence) <= 160 else type(error).__name__


class _Foreign:
    """Stands for an object of a class that only running the file would give."""

    of = ""

    def __new__(cls, *_: Any, **__: Any) -> "_Foreign":
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any):
        pass

    def __setstate__(self, _: object) -> None:
        pass

    def __setitem__(self, _: object, __: object) -> None:
        pass

    def append(self, _: object) -> None:
        pass


class _Table(dict):
    """Stands for an OrderedDict."""

    def __init__(self, *_: object):
        super().__init__()


def _stand_in(*_: object) -> Tensor:
    return torch.empty(0)


class _Outline(pickle.Unpickler):
    """What a pickle is made of; nothing that it names is imported or runs."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return _Table
        if module == "torch._utils" and name.startswith("_rebuild_"):
            return _stand_in
        return type("Foreign", (_Foreign,), {"of": f"{module}.{name}"})

    def persistent_load(self, _: object) -> None:
        return None


def what_is_foreign(path: Path, is_archive: bool) -> str:
    """What torch.load refuses in a file, and where sound weights are beside it and how to save them alone, if they are."""
    try:
        content = _outline(path, is_archive)
    except Exception:  # of any kind: it is damaged, or no pickle
        return "cannot be read: torch.save did not write it, or it is damaged; get it again"
    foreign = next(_found(content, lambda value: isinstance(value, _Foreign), set()), None)
    weights = next(_found(content, _is_state_dict, set()), None)
    if foreign is None:
        return "holds more than tensors and plain values; save its state dict alone"
    where = f"under {shown(foreign[0][0])} " if foreign[0] else ""
    refused = f"holds {shown(foreign[1].of)} {where}and would have to be run to be read"
    if weights is None or not all(map(str.isidentifier, weights[0])):  # of words alone a line for a shell is made
        return f"{refused}; where you trust it, load it with what wrote it and save its state_dict() alone"
    place = "".join(f"[{key!r}]" for key in weights[0])
    command = f"import sys, torch; torch.save(torch.load(sys.argv[1], weights_only=False){place}, sys.argv[2])"
    under = f"under {'.'.join(map(str, weights[0]))}" if place else "beside it"
    return f'{refused}; sound weights are {under}; if you trust it, save them alone: python -c "{command}" FILE WEIGHTS.pth'


def _outline(path: Path, is_archive: bool) -> Any:
    if is_archive:
        with zipfile.ZipFile(path) as archive:
            pickled = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            return _Outline(io.BytesIO(archive.read(pickled))).load()
    with path.open("rb") as file:
        for _ in range(3):  # a number, a version, and facts about the machine, before torch 1.6
            _Outline(file).load()
        return _Outline(file).load()


def _found(
    content: object, is_it: Callable[[Any], bool], seen: set[int], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The values in nested dictionaries for which something holds, each with its keys; what lies in itself is seen once."""
    if is_it(content):
        yield path, content
    elif isinstance(content, dict) and len(path) < MOST_NESTED and id(content) not in seen:
        seen.add(id(content))
        for key, value in content.items():
            yield from _found(value, is_it, seen, (*path, str(key)))


def _is_state_dict(content: object) -> bool:
    return isinstance(content, dict) and bool(content) and all(isinstance(value, Tensor) for value in content.values())


def _is_plain(tensor: object) -> bool:
    """Whether it is a tensor that stores each of its numbers."""
    return (
        type(tensor) in (Tensor, torch.nn.Parameter)
        and isinstance(tensor, Tensor)
        and tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and not (tensor.is_quantized or tensor.is_nested)
        and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
    )


def _unwrapped(content: Any, path: Path, expected: str, depth: int = 0) -> Any:
    """The dictionary of tensors in a training dictionary. Raises UserError where there are several, of which none was named."""
    if not isinstance(content, dict) or depth == MOST_NESTED:
        return content
    inner = {key: _unwrapped(content[key], path, expected, depth + 1) for key in NESTED if isinstance(content.get(key), dict)}
    inner = {key: value for key, value in inner.items() if any(isinstance(tensor, Tensor) for tensor in value.values())}
    if len(inner) > 1:
        raise UserError(
            f"{path} holds weights under {' and '.join(inner)}; expected {expected} of one network; save those that are meant "
            'alone: python -c "import sys, torch; torch.save(torch.load(sys.argv[1])[sys.argv[2]], sys.argv[3])" FILE '
            f"{next(iter(inner))} WEIGHTS.pth"
        )
    return next(iter(inner.values()), content)


def read_state_dict(path: Path, expected: str) -> dict[str, Tensor]:
    """The tensors of a state dict that torch.save wrote to `path`, or of one in a training dictionary, by their names.

    Raises UserError, in one line, for a file that is missing, cannot be read, or holds something else.
    """
    content = _unwrapped(read_saved(path, expected), path, expected)
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path} holds {shown(type(content).__name__)}; expected {expected}: names and tensors; get it again")
    for name, tensor in content.items():
        if not isinstance(name, str) or not _is_plain(tensor):
            raise UserError(
                f"{path} holds {shown(name)}, which is no name of a dense tensor; expected {expected}; get it again"
            )
    return dict(content)


def num_stored(tensors: Iterable[Tensor]) -> int:
    """How many numbers the tensors store together: those that share memory count once."""
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() // t.element_size() for t in tensors}.values())
