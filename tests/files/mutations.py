"""How hostile inputs are made: of sound files, by chance alone, the same for the same generator.

Files that are damaged fail at a checksum. The ones that matter are damaged behind checksums that fit, as somebody who means
harm writes them.
"""

import io
import json
import struct
import zipfile
import zlib
from random import Random
from typing import Any

import torch
from torch import Tensor

from codec.files.container import Container, read_container
from codec.files.sealed import Sealed, seal

# What stands in JSON where something else was.
VALUES = [
    None, True, False, 0, 1, -1, -5, 2, 3, 7, 255, 65536, 2**31, 2**63, 10**400, 1.9, -0.0, 1e308, 5e-324, "", "N", "x" * 5000,
    "\x1b[2J\n", "\ud800", [], {}, [[]], {"": {}}, [1] * 1000, {str(n): n for n in range(300)},
]  # fmt: skip
SIZES = [1, 2, 15, 16, 17, 63, 64, 65, 128, 200]
ABSURD = [0, 2**13, 2**15, 2**20, 2**26, 2**27, 2**27 + 1, 2**28, 2**31, 2**35 - 1]


def flipped(data: bytes, rng: Random, most: int = 20) -> bytes:
    """Up to `most` bytes changed."""
    out = bytearray(data)
    for _ in range(rng.randrange(1, most + 1)):
        out[rng.randrange(len(out))] ^= rng.randrange(1, 256)
    return bytes(out)


def cut(data: bytes, rng: Random) -> bytes:
    """A beginning, or an end."""
    place = rng.randrange(len(data))
    return data[:place] if rng.random() < 0.7 else data[place:]


def spliced(data: bytes, other: bytes, rng: Random) -> bytes:
    """The beginning of one and the end of the other, or a piece of one twice."""
    first, second = rng.randrange(len(data)), rng.randrange(len(other))
    return data[:first] + other[second:]


def random_bytes(data: bytes, rng: Random) -> bytes:
    """Noise, half the time behind a sound beginning."""
    return data[: rng.randrange(20)] * rng.randrange(2) + rng.randbytes(rng.randrange(400))


def _varint(value: int, rng: Random) -> bytes:
    """Seven bits a byte; now and then longer than it need be."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    if rng.random() < 0.02:
        out[-1] |= 0x80
        out.append(0)
    return bytes(out)


def _payload(payload: bytes, rng: Random) -> bytes:
    """Another payload: changed, shorter, longer, noise, zeros or ones."""
    way = rng.randrange(7)
    words = 4 * rng.randrange(1, 40)
    if way == 0 and payload:
        return flipped(payload, rng)
    if way == 1:
        return payload[: rng.randrange(len(payload) + 1) // 4 * 4]
    if way == 2:
        return payload + rng.randbytes(words)
    if way == 3:
        return rng.randbytes(words)
    if way == 4:
        return rng.choice([b"\0", b"\xff"]) * words
    return payload if way == 5 else payload[: rng.randrange(len(payload) + 1)]


def assembled(file: Container, rng: Random, **changes: Any) -> bytes:
    """A .lic file whose checksum fits, of what a sound one says and what is changed of it."""
    said = {**vars(file), **changes}
    said.setdefault("version", b"3456"[(said["grid"] is not None) + 2 * (said["level_map"] is not None)].to_bytes())
    head = b"LIC" + said["version"] + said["fingerprint"] + bytes([said["level"]])
    head += _varint(said["height"], rng) + _varint(said["width"], rng)
    head += b"" if said["grid"] is None else bytes(said["grid"])
    head += b"" if said["level_map"] is None else _varint(len(said["level_map"]), rng) + said["level_map"]
    body = head + said["payload"] + said["symbols_crc"].to_bytes(4, "little")
    return body + zlib.crc32(body).to_bytes(4, "little")


def forged(data: bytes, rng: Random) -> bytes:
    """A .lic file damaged behind its checksum: payload, sizes, grid, or anything else of its head."""
    file = read_container(data)
    changes: dict[str, Any] = {}
    way = rng.randrange(11)
    if way < 5:
        changes["payload"] = _payload(file.payload, rng)
    if way in (4, 5, 6):
        sizes = SIZES if rng.random() < 0.7 else ABSURD + SIZES
        changes |= {"height": rng.choice(sizes), "width": rng.choice(sizes)}
    if way == 7:
        changes["grid"] = None if rng.random() < 0.3 else (rng.choice([0, 1, 2, 5, 255]), rng.choice([0, 1, 3, 255]))
        changes["version"] = rng.choice([b"3", b"4", b"4", b"5", b"6"])
    if way == 8:
        changes |= {"symbols_crc": rng.getrandbits(32), "level": rng.choice([0, 0, 1, 255])}
    if way == 9:
        body = flipped(data[:-4], rng, 3)
        return body + zlib.crc32(body).to_bytes(4, "little")
    if way == 10:
        changes |= {"symbols_crc": rng.getrandbits(32), "level_map": _level_map(file.level_map or b"", rng)}
    return assembled(file, rng, **changes)


def _level_map(level_map: bytes, rng: Random) -> bytes:
    """Another map: bytes that were deflated, as many as a small picture has places or far more, or anything."""
    way = rng.randrange(5)
    if way == 0 and level_map:
        return flipped(level_map, rng, 3)
    if way == 1:
        return level_map[: rng.randrange(len(level_map) + 1)]
    if way == 2:
        return rng.randbytes(rng.randrange(40))
    places, most = rng.choice([1, 15, 16, 32, 64, 10**7]), rng.choice([0, 1, 2, 255])
    content = bytes([most]) * places if places > 64 else bytes(rng.randrange(most + 1) for _ in range(places))
    deflate = zlib.compressobj(wbits=-15)
    return deflate.compress(content) + deflate.flush() + (b"" if way == 3 else rng.randbytes(rng.randrange(3)))


def changed_value(value: Any, rng: Random) -> Any:
    """Plain values of JSON with one of them, at any depth, another: of another type, huge, missing or more."""
    if rng.random() < 0.25 or not isinstance(value, dict | list) or not value:
        return rng.choice(VALUES)
    if isinstance(value, list):
        place = rng.randrange(len(value))
        return [*value[:place], changed_value(value[place], rng), *value[place + 1 :]]
    key, way = rng.choice(list(value)), rng.random()
    if way < 0.2:
        return {name: part for name, part in value.items() if name != key}
    if way < 0.3:
        return {**value, rng.choice(["", "more", "N", "name", key + " ", key.upper()]): rng.choice(VALUES)}
    return {**value, key: changed_value(value[key], rng)}


def changed_text(text: str, rng: Random) -> str:
    """A text of JSON with one thing about its letters another: a pair twice, a space, a cut, a number in other digits."""
    places = [place for place, sign in enumerate(text) if sign in '{,:}"0123456789']
    place = rng.choice(places)
    pieces = [" ", '"N": 8, ', '{"a": 1}', "[" * 3000, "1e999", "NaN", "-", "0", "9" * 5000, "\\u004e", "\n"]
    return text[:place] + rng.choice([*pieces, ""]) + text[place + rng.randrange(3) :]


def parts_of(content: bytes) -> tuple[dict[str, Any], bytes]:
    """The header of a safetensors file, and what follows it."""
    end = 8 + struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8:end]), content[end:]


def with_header(header: str | dict[str, Any], data: bytes) -> bytes:
    """The safetensors file of a header and what follows it."""
    text = (header if isinstance(header, str) else json.dumps(header)).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text)) + text + data


def changed_header(content: bytes, rng: Random) -> bytes:
    """A bundle with another header of tensors: types, shapes, offsets and texts changed as values or as letters."""
    header, data = parts_of(content)
    if rng.random() < 0.3:
        return with_header(changed_text(json.dumps(header), rng), data)
    return with_header(changed_value(header, rng), data)


def _changed_tensor(tensor: Tensor, rng: Random) -> Tensor:
    """Other numbers, another shape or another type."""
    way, numbers = rng.randrange(9), tensor.clone().flatten()
    place = rng.randrange(len(numbers))
    if way < 4:
        if tensor.is_floating_point():
            numbers[place] = rng.choice([float("nan"), float("inf"), 0.0, -1.0, 1e4, 6.5e4, -6.5e4, 1e-7, 1e38])
        else:
            bits = numbers.view(torch.int16 if tensor.dtype == torch.uint16 else tensor.dtype)
            bits[place] = rng.choice([0, 1, -1, 2, 32767, -32768, int(bits[place]) + rng.choice([-1, 1])])
        return numbers.view(tensor.shape)
    if way == 4:
        return torch.cat([numbers, numbers[:1]])
    if way == 5:
        return numbers[: rng.randrange(1, len(numbers) + 1)]
    if way == 6:
        return tensor.clone().reshape(rng.choice([(-1,), (1, -1), (-1, 1), (1, *tensor.shape), (*tensor.shape, 1)]))
    if way == 7 and tensor.is_floating_point():
        return tensor * rng.choice([0.0, -1.0, 1e3, 1e-3])
    return tensor.view(torch.uint8).view(-1)[:4].view(rng.choice([torch.int32, torch.float32, torch.uint16, torch.float16]))


def _other_tables(tensors: dict[str, Tensor], rng: Random) -> dict[str, Tensor]:
    """Tables of one stream that code, but nothing that is likely: one entry has nearly all, or the symbols are far away."""
    name = rng.choice([name for name in tensors if name.endswith(".lengths")]).removesuffix("lengths")
    lengths = tensors[f"{name}lengths"].tolist()
    if rng.random() < 0.3:
        lengths = [rng.choice([2, 2, 3, 1000])] * len(lengths)
    counts = []
    for length in lengths:
        ones = [1] * length
        ones[rng.choice([0, -1, rng.randrange(length)])] += 65536 - length
        counts += ones
    far = rng.choice([0, 1, 1 << 20, (1 << 30) - 1, 1 - (1 << 30)])
    return {
        f"{name}lengths": torch.tensor(lengths, dtype=torch.int32),
        f"{name}counts": torch.tensor(counts, dtype=torch.int32).to(torch.uint16),
        f"{name}offsets": torch.full((len(lengths),), far, dtype=torch.int32),
    }


def changed_tensors(sealed: Sealed, rng: Random) -> dict[str, Tensor]:
    """The tensors of a bundle with one or several changed, missing, more, or under each other's names."""
    tensors = dict(sealed.tensors)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        kind = rng.choice(["weights.", "tables.", ""])
        name = rng.choice([name for name in tensors if name.startswith(kind)] or list(tensors))
        way = rng.random()
        if way < 0.1:
            del tensors[name]
        elif kind == "tables.":
            tensors |= _other_tables(sealed.tensors, rng) if way < 0.6 else {name: _changed_tensor(tensors[name], rng)}
        elif way < 0.2:
            tensors[rng.choice(["more", "weights.more", "tables.y.counts", "tables.more.counts", f"{name}\n\x1b[2J"])] = (
                tensors[name]
            )
        elif way < 0.3:
            other = rng.choice(list(tensors))
            tensors[name], tensors[other] = tensors[other], tensors[name]
        else:
            tensors[name] = _changed_tensor(tensors[name], rng)
        if len(tensors) < 3:
            break
    return {name: tensor.contiguous().clone() for name, tensor in tensors.items()}


def resealed(sealed: Sealed, rng: Random, what: str) -> bytes:
    """A bundle whose hashes fit, with another core, other facts or other tensors."""
    core, facts, tensors = sealed.core, sealed.facts, sealed.tensors
    if what == "core":
        core = changed_value(core, rng)
    elif what == "facts":
        facts = changed_value(facts, rng)
    else:
        tensors = changed_tensors(sealed, rng)
    return seal(tensors, core if isinstance(core, dict) else {"model": core}, facts)


def _rebuilt(archive: bytes, rng: Random) -> bytes:
    """A checkpoint whose pickle is changed, behind checksums that fit."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as new:
        for entry in old.infolist():
            content = old.read(entry)
            new.writestr(entry.filename, flipped(content, rng, 3) if entry.filename.endswith(".pkl") else content)
    return out.getvalue()


def checkpoint(state: dict[Any, Any], zipped: bool = True) -> bytes:
    """What torch.save writes of a state dict."""
    out = io.BytesIO()
    torch.save(state, out, _use_new_zipfile_serialization=zipped)
    return out.getvalue()


def changed_checkpoint(state: dict[str, Tensor], rng: Random) -> bytes:
    """What torch.save writes of a state dict that is changed, or the same with changed bytes."""
    state, way = dict(state), rng.random()
    if way < 0.4:
        name = rng.choice(list(state))
        others: list[Any] = [
            _changed_tensor(state[name], rng).clone(),
            state[name].flatten()[0].clone(),
            state[name].to_sparse(),
            3,
        ]
        others += [
            torch.zeros(1).expand(state[name].shape),
            state[name].to(torch.int32),
            torch.empty(state[name].shape, device="meta"),
        ]
        state[rng.choice([name, name, name, 7, "more"])] = rng.choice(others)  # type: ignore[index]
    content = checkpoint(state, zipped=rng.random() < 0.7)
    if way < 0.4:
        return content
    if way < 0.7 and content[:2] == b"PK":
        return _rebuilt(content, rng)
    return rng.choice([flipped(content, rng, 4), cut(content, rng)])
