"""A second decoder, which does what codec/files/FORMAT.md says: the latents of a .lic file, by NumPy and integers.

It shares no code with the first, and is there to be compared with: sums are of int64 where codec's are of float64, and each
symbol is a turn of a Python loop. Whatever is wrong with a file is an assertion here. Networks are in numpy_networks.py.

    python tests/files/numpy_decoder.py codec.safetensors picture.lic ...

C channels, h w height and width of a map, n entries of a table.
"""

import json
import struct
import sys
import zlib
from bisect import bisect_right
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy_networks import GRID, latents

STRIP = 16  # rows
TYPES = {"F16": "<f2", "F32": "<f4", "I32": "<i4", "U16": "<u2"}


class Table(NamedTuple):
    """bounds: of the entries within 2^24, n + 1 of them. offset: the symbol of the first entry; the last one is the escape."""

    bounds: list[int]
    offset: int

    @property
    def escape(self) -> int:
        return len(self.bounds) - 2


class Bundle(NamedTuple):
    model: str
    arguments: dict
    check: int
    fingerprint: bytes
    tensors: dict[str, np.ndarray]
    tables: dict[str, list[Table]]


def read_bundle(data: bytes) -> Bundle:
    (length,) = struct.unpack_from("<Q", data)
    entries, content = json.loads(data[8 : 8 + length]), data[8 + length :]
    texts = entries.pop("__metadata__")
    assert texts["hash"] == sha256((texts["codec"] + texts["facts"]).encode()).hexdigest()
    core = json.loads(texts["codec"])
    assert core["format"] == 3 and core["tensors"].keys() == entries.keys()
    tensors = {name: read_tensor(entry, content, core["tensors"][name]) for name, entry in entries.items()}
    streams = [name.split(".")[1] for name in tensors if name.endswith(".counts")]
    tables = {stream: read_tables(f"tables.{stream}", tensors) for stream in streams}
    fingerprint = sha256(texts["codec"].encode()).digest()[:8]
    return Bundle(core["model"], core["arguments"], core["check"], fingerprint, tensors, tables)


def read_tensor(entry: dict, content: bytes, digest: str) -> np.ndarray:
    part, shape = content[slice(*entry["data_offsets"])], entry["shape"]
    assert digest == sha256(f"{entry['dtype']} {shape}\n".encode() + part).hexdigest()
    return np.frombuffer(part, TYPES[entry["dtype"]]).reshape(shape)


def read_tables(prefix: str, tensors: dict[str, np.ndarray]) -> list[Table]:
    counts, lengths, offsets = (tensors[f"{prefix}.{key}"].tolist() for key in ("counts", "lengths", "offsets"))
    ends = list(accumulate(lengths))
    assert ends[-1] == len(counts)
    return [Table(bounds_of(counts[end - n : end]), offset) for end, n, offset in zip(ends, lengths, offsets, strict=True)]


def bounds_of(counts: list[int]) -> list[int]:
    """Counts of 2^16 as bounds within 2^24: each entry gets 1, and of the rest what its count says."""
    n, sums = len(counts), [0, *accumulate(counts)]
    assert sums[-1] == 1 << 16 and min(counts) > 0
    return [(total * ((1 << 24) - n) >> 16) + k for k, total in enumerate(sums)]


LENGTH_BOUNDS = bounds_of(
    [13527, 10737, 8522, 6763, 5368, 4261, 3381, 2684, 2130, 1690, 1342, 1065, 845, 671, 532, 422, 335, 266, 211, 167, 133, 105]
    + [83, 66, 52, 41, 33, 26, 20, 16, 13, 10, 8, 6, 5]
)


class File(NamedTuple):
    fingerprint: bytes
    level: int
    height: int
    width: int
    grid: tuple[int, int] | None
    offsets: bytes | None
    payload: bytes
    symbols_crc: int


def read_file(data: bytes) -> File:
    assert data[:4] in (b"LIC3", b"LIC4", b"LIC5", b"LIC6")
    assert zlib.crc32(data[:-4]) == int.from_bytes(data[-4:], "little")
    height, at = read_varint(data, 13)
    width, at = read_varint(data, at)
    grid = offsets = None
    if data[:4] in (b"LIC4", b"LIC6"):
        grid, at = (data[at], data[at + 1]), at + 2
    if data[:4] in (b"LIC5", b"LIC6"):
        length, at = read_varint(data, at)
        offsets, at = zlib.decompress(data[at : at + length], wbits=-15), at + length
    return File(data[4:12], data[12], height, width, grid, offsets, data[at:-8], int.from_bytes(data[-8:-4], "little"))


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    end = next(place for place in range(at, at + 5) if data[place] < 128) + 1
    return sum((data[place] & 127) << 7 * (place - at) for place in range(at, end)), end


class RangeDecoder:
    """offset is the coded number less the lower end of the interval that it is in, range the size of that."""

    def __init__(self, payload: bytes):
        self._words = [word for (word,) in struct.iter_unpack("<I", payload)][::-1]
        self._range, self._offset = (1 << 64) - 1, self._next() << 32 | self._next()

    def _next(self) -> int:
        return self._words.pop() if self._words else 0

    def symbol(self, bounds: list[int]) -> int:
        scale = self._range >> 24
        symbol = bisect_right(bounds, self._offset // scale) - 1
        assert symbol < len(bounds) - 1, "no encoder writes this"
        self._offset -= scale * bounds[symbol]
        self._range = scale * (bounds[symbol + 1] - bounds[symbol])
        if self._range < 1 << 32:
            self._range <<= 32
            self._offset = self._offset << 32 | self._next()
        return symbol

    def bits(self, count: int) -> int:
        return self.symbol(range(0, (1 << 24) + 1, 1 << 24 - count))  # a range is a list of bounds too

    def finish(self) -> None:
        assert not self._words and self._offset < 2**33 - 1, "the payload goes on"


class Reader:
    """Takes the values of streams out of a payload, and keeps the CRC-32 of their symbols."""

    def __init__(self, bundle: Bundle, payload: bytes):
        self._bundle, self._decoder, self.symbols_crc = bundle, RangeDecoder(payload), 0

    def factorized(
        self, stream: str, shape: tuple[int, int, int], medians: np.ndarray, first: int | np.ndarray = 0
    ) -> np.ndarray:
        indices = np.broadcast_to(np.arange(shape[0])[:, None, None] + first, shape)
        return self._symbols(indices, self._bundle.tables[stream]).astype(np.float32) + medians[:, None, None]

    def gaussian(self, scales: np.ndarray, means: np.ndarray | None) -> np.ndarray:
        indices = np.searchsorted(self._bundle.tensors["scale_bounds"], nearest_units(scales))
        symbols = self._symbols(indices, self._bundle.tables["gaussian"]).astype(np.float32)
        return symbols if means is None else symbols + means

    def _symbols(self, indices: np.ndarray, tables: list[Table]) -> np.ndarray:
        """int32 [C, h, w], coded strip by strip, each by the table of its index."""
        symbols = np.empty(indices.shape, "<i4")
        for top in range(0, indices.shape[1], STRIP):
            strip = indices[:, top : top + STRIP]
            part = np.array(self._strip(strip.ravel(), tables), np.int64)
            assert (part >= -(2**31)).all() and (part < 2**31).all()
            symbols[:, top : top + STRIP] = part.reshape(strip.shape)
            self.symbols_crc = zlib.crc32(part.astype("<i4").tobytes(), self.symbols_crc)
        return symbols

    def _strip(self, indices: np.ndarray, tables: list[Table]) -> list[int]:
        """Entries table by table, those of one table in their order; then what the escapes stand for, in their order."""
        symbols, escaped = [0] * len(indices), []
        order = np.argsort(indices, kind="stable")
        for place, index in zip(order.tolist(), indices[order].tolist(), strict=True):
            table = tables[index]
            entry = self._decoder.symbol(table.bounds)
            symbols[place] = entry + table.offset
            if entry == table.escape:
                escaped.append(place)
        for place, distance in zip(sorted(escaped), self._distances(len(escaped)), strict=True):
            table = tables[indices[place]]
            symbols[place] = table.offset + (-1 - distance // 2 if distance % 2 else table.escape + distance // 2)
        return symbols

    def _distances(self, count: int) -> list[int]:
        """The lengths of all, then the lower 16 bits of all, the 16 above them, and the rest."""
        lengths, distances = [self._decoder.symbol(LENGTH_BOUNDS) for _ in range(count)], [0] * count
        for low in (0, 16, 32):
            for place, length in enumerate(lengths):
                if length > low:
                    distances[place] |= self._decoder.bits(min(length - low, 16)) << low
        return distances

    def finish(self, symbols_crc: int) -> None:
        self._decoder.finish()
        assert self.symbols_crc == symbols_crc, "other symbols than were written"


class Check:
    """In a Reader's place, makes symbols up and keeps the CRC-32 of scales, means and latents."""

    def __init__(self) -> None:
        self.crc, self._made = 0, 0

    def note(self, values: np.ndarray) -> None:
        self.crc = zlib.crc32(nearest_units(values).astype("<i8").tobytes(), self.crc)

    def _symbols(self, shape: tuple[int, ...]) -> np.ndarray:
        places = self._made + np.arange(np.prod(shape), dtype=np.int64)
        self._made += len(places)
        return ((places * 2654435769 % 2**32 >> 26) - 32).astype(np.float32).reshape(shape)

    def factorized(
        self, stream: str, shape: tuple[int, int, int], medians: np.ndarray, first: int | np.ndarray = 0
    ) -> np.ndarray:
        return self._symbols(shape) + medians[:, None, None]

    def gaussian(self, scales: np.ndarray, means: np.ndarray | None) -> np.ndarray:
        self.note(scales)
        if means is None:
            return self._symbols(scales.shape)
        self.note(means)
        return self._symbols(scales.shape) + means


class AtLevels:
    """In the place of streams that it asks for the symbols of y, makes values of them as levels have them.

    levels: [h, w], of each place, or [1, 1], of all.
    """

    def __init__(self, streams: Reader | Check, tensors: dict[str, np.ndarray], levels: np.ndarray):
        self._streams, self._levels = streams, levels
        at_places = (tensors[f"levels.{key}"].astype(np.float32)[levels] for key in ("gains", "steps"))
        self._gains, self._steps = (units.transpose(2, 0, 1) * np.float32(2.0**-GRID) for units in at_places)
        self._done = 0  # channels of y

    def factorized(self, stream: str, shape: tuple[int, int, int], medians: np.ndarray) -> np.ndarray:
        if stream != "y":
            return self._streams.factorized(stream, shape, medians)
        symbols = self._streams.factorized(stream, shape, np.zeros_like(medians), self._levels * shape[0])
        return symbols * self._steps + medians[:, None, None]

    def gaussian(self, scales: np.ndarray, means: np.ndarray | None) -> np.ndarray:
        channels = slice(self._done, self._done + len(scales))
        self._done += len(scales)
        values = self._streams.gaussian(scales * self._gains[channels], None) * self._steps[channels]
        return values if means is None else values + means


def nearest_units(values: np.ndarray) -> np.ndarray:
    """float32 values to integers in units of the grid, without its limits."""
    return np.rint(values.astype(np.float64) * 2.0**GRID).astype(np.int64)


def latents_of(
    bundle: Bundle, streams: Reader | Check, height: int, width: int, grid: tuple[int, int] | None, levels: np.ndarray
) -> np.ndarray:
    assert levels.max() < bundle.arguments.get("levels", 1)
    leveled = AtLevels(streams, bundle.tensors, levels) if "levels" in bundle.arguments else streams
    return latents(bundle.model, bundle.arguments, bundle.tensors, leveled, (height, width), grid)


def check(bundle: Bundle) -> int:
    """What the header must hold."""
    made = Check()
    cells = bundle.arguments.get("grid")
    level = np.full((1, 1), bundle.arguments.get("levels", 0) // 2)
    made.note(latents_of(bundle, made, 192, 256, (cells, cells), level))
    return made.crc


def decode(bundle: Bundle, data: bytes) -> np.ndarray:
    """y_hat, float32 [M, h, w], of the content of a .lic file."""
    file = read_file(data)
    assert file.fingerprint == bundle.fingerprint, "of another codec"
    reader = Reader(bundle, file.payload)
    levels = np.full((1, 1), file.level)
    if file.offsets is not None:
        stride = 16 if bundle.model in ("factorized", "hific") else 64
        high, wide = (-(-side // stride) * stride // 16 for side in (file.height, file.width))
        levels = levels + np.frombuffer(file.offsets, np.uint8).reshape(high, wide)
    y_hat = latents_of(bundle, reader, file.height, file.width, file.grid, levels)
    reader.finish(file.symbols_crc)
    return y_hat


if __name__ == "__main__":
    codec = read_bundle(Path(sys.argv[1]).read_bytes())
    print(f"{codec.model} {codec.fingerprint.hex()} check {check(codec) == codec.check}")
    for path in sys.argv[2:]:
        y_hat = decode(codec, Path(path).read_bytes())
        print(f"{path} {y_hat.shape} {zlib.crc32(y_hat.tobytes()):08x}", flush=True)
