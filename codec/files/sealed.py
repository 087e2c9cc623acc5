"""Tensors in one safetensors file that is what was written, or is refused.

Its header has two texts of JSON, and the `hash` of both. `codec` holds all that coding depends on: what the writer says, the
format's version, and a hash of every tensor, of its type, its shape and its bytes. It has one spelling (sorted keys, none
twice), and the fingerprint is the hash of that spelling: two files with one fingerprint code alike. `facts` holds the rest.

What is read here is only known to be intact: whoever writes a file writes its hashes too. What it says is checked elsewhere.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from codec.types import UserError, shown

FORMAT = 3
MAX_HEADER = 1 << 20  # bytes; that of 700 tensors is a fifth of it

# Of weights, of the coder's counts, and of their lengths, offsets and bounds: by the names of safetensors.
TYPES = {torch.float16: "F16", torch.float32: "F32", torch.uint16: "U16", torch.int32: "I32"}


@dataclass(frozen=True)
class Sealed:
    """The content of a file.

    core, facts: what the writer said. fingerprint: eight bytes that stand for all but the facts.
    """

    tensors: dict[str, Tensor]
    core: dict[str, Any]
    facts: dict[str, Any]
    fingerprint: bytes


def spelled(value: Any) -> str:
    """The one spelling of plain values as JSON: sorted keys, no NaN and no infinity."""
    return json.dumps(value, sort_keys=True, allow_nan=False)


def tensor_hash(tensor: Tensor) -> str:
    """SHA-256, in hexadecimal digits, of type and shape, as `F16 [64, 3, 5, 5]` and a newline, and of its bytes in the file."""
    digest = hashlib.sha256(f"{TYPES[tensor.dtype]} {list(tensor.shape)}\n".encode())
    digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)  # no copy: it may be large
    return digest.hexdigest()


def seal(tensors: dict[str, Tensor], core: dict[str, Any], facts: dict[str, Any]) -> bytes:
    """The content of a file. core: what coding depends on beside the tensors; facts: anything else. Plain values of JSON.

    Raises UserError for facts that are none.
    """
    core = core | {"format": FORMAT, "tensors": {name: tensor_hash(tensor) for name, tensor in tensors.items()}}
    try:
        texts = spelled(core), spelled(facts)
        _mapping(texts[1], "what it says of its training")
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(f"facts for a bundle that JSON cannot hold ({shown(str(error), 160)}); expected plain values") from None
    return _in_order(save(tensors, {"codec": texts[0], "facts": texts[1], "hash": _hash_of_both(*texts)}))


def _in_order(data: bytes) -> bytes:
    """The same safetensors file with the keys of its header sorted: theirs come in another order in each process."""
    begin = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:begin]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # the tensors begin at a multiple of 8
    return len(header).to_bytes(8, "little") + header + data[begin:]


def _hash_of_both(core: str, facts: str) -> str:
    """SHA-256, as hexadecimal digits, of one text after the other."""
    return hashlib.sha256((core + facts).encode()).hexdigest()


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key stands twice in its header")
    return values


def _not_finite(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _mapping(text: str | bytes, what: str) -> dict[str, Any]:
    """The mapping that a text of JSON is; ValueError where it is none, or where a key stands twice in any that it holds."""
    try:
        value = json.loads(text, object_pairs_hook=_pairs, parse_constant=_not_finite)
    except RecursionError:
        raise ValueError(f"{what} is nested too deeply") from None
    if type(value) is not dict:
        raise ValueError(f"{what} is no mapping")
    return value


def _checked_header(path: Path) -> None:
    """Raise ValueError for what safetensors would let pass: a key that stands twice, and a header of any length."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > MAX_HEADER:
            raise ValueError(f"a header of {length} bytes, more than {MAX_HEADER}")
        _mapping(file.read(length), "its header")


def _checked_core(text: str) -> dict[str, Any]:
    """The core of a file of this format; ValueError for any that was not written so."""
    core = _mapping(text, "its header")
    version = core["format"]
    if type(version) is not int or version < 1:
        raise ValueError(f"a format {shown(version)}")
    if version != FORMAT:
        remedy = "install a newer codec" if version > FORMAT else "train or import it again"
        raise UserError(f"bundle format {version}; this codec reads {FORMAT}; {remedy}")
    if text != spelled(core):
        raise ValueError("its header is not spelled as it is written")
    if type(core["tensors"]) is not dict:
        raise ValueError("it has no hashes of tensors")
    return core


def _check_tensors(tensors: dict[str, Tensor], hashes: dict[str, Any]) -> None:
    """Raise UserError unless these are the tensors that were written."""
    if odd := sorted(tensors.keys() ^ hashes.keys()):
        raise UserError(f"is damaged: {shown(odd[0])} is not both in it and in its header ({len(odd)} tensors); get it again")
    for name, tensor in tensors.items():
        if tensor.dtype not in TYPES or tensor.dim() == 0 or tensor.numel() == 0 or tensor_hash(tensor) != hashes[name]:
            raise UserError(f"is damaged: {shown(name)} is not what was written; get it again")


def unseal(path: Path) -> Sealed:
    """What is in the file at `path`.

    Raises UserError, in one line, for no file, another kind, another version, and any damage.
    """
    if not os.path.isfile(path):  # noqa: PTH113  # Path.is_file raises for a name that is too long
        raise UserError(f"no bundle at {path}; expected a codec.safetensors that `codec train` or `codec import` wrote")
    try:
        _checked_header(path)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            core, facts = _checked_core(metadata["codec"]), _mapping(metadata["facts"], "what it says of its training")
            if metadata["hash"] != _hash_of_both(metadata["codec"], metadata["facts"]):
                raise UserError("is damaged: its header is not what was written; get it again")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        _check_tensors(tensors, core.pop("tensors"))
    except UserError as error:
        raise UserError(f"{path} {error}") from None
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is not a bundle ({type(error).__name__}: {shown(str(error), 160)}); expected a codec.safetensors that "
            "`codec train` or `codec import` wrote"
        ) from None
    del core["format"]
    return Sealed(tensors, core, facts, hashlib.sha256(metadata["codec"].encode()).digest()[:8])
