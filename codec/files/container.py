"""The `.lic` file: what surrounds a range-coded payload.

    magic "LIC3"    4 bytes, the last one is the version: 4 where a grid follows, 5 where a map, 6 where both
    fingerprint     8 bytes of the bundle that wrote it
    level           one byte, of a codec that has several rates; else 0
    height, width   varints of 1 to 5 bytes
    rows, columns   of the grid of regions, one byte each, of a codec that adapts to them
    length, map     of levels by place, as codec.files.level_map packs it; the length as a varint
    payload
    symbols         CRC-32 of the decoded symbols, little endian
    file            CRC-32 of all before it, little endian

At most 26 bytes beside the payload, 28 with a grid, and the map.
"""

import zlib
from dataclasses import dataclass
from pathlib import Path

from codec.types import UserError

MAGIC = b"LIC"
VERSIONS = [b"3", b"4", b"5", b"6"]  # one more where a grid follows, two more where a map does
MAX_PIXELS = 2**27
MAX_VARINT = 5  # bytes
MAX_BYTES = 2**30  # of a file: more than pixels of noise take
SUFFIX = ".lic"


@dataclass(frozen=True)
class Container:
    """What a file says: sides in pixels, the payload, the CRC-32 that its symbols must have, the grid of regions, the level.

    level_map: how much higher it is at each place, packed.
    """

    fingerprint: bytes
    height: int
    width: int
    payload: bytes
    symbols_crc: int
    grid: tuple[int, int] | None = None
    level: int = 0
    level_map: bytes | None = None

    @property
    def shape(self) -> tuple[int, int, tuple[int, int] | None, int, bytes | None]:
        """Width, height, grid, level and map: what the pictures of one batch share."""
        return self.width, self.height, self.grid, self.level, self.level_map


def _varint(value: int) -> bytes:
    """Seven bits a byte, low first; the high bit says that more follow."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The varint at a position, and where what follows it begins; the shortest form of a number is its only one."""
    value = 0
    for place in range(MAX_VARINT):
        if at + place >= len(data):
            break
        byte = data[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte == 0 and place > 0:
            break
        if byte < 0x80:
            return value, at + place + 1
    raise UserError("the file is damaged: its size cannot be read; get the file again")


def write_container(
    fingerprint: bytes, height: int, width: int, payload: bytes, symbols_crc: int, grid: tuple[int, int] | None = None,
    level: int = 0, level_map: bytes | None = None,
) -> bytes:  # fmt: skip
    """The content of a .lic file.

    fingerprint: 8 bytes, of the bundle. height, width: of the picture in pixels. payload: range-coded. symbols_crc: CRC-32 of
    the symbols. grid: rows and columns of the regions, of a codec that adapts to them. level, level_map: of one that has
    several rates.
    Raises UserError for a picture of more than 2^27 pixels, which no reader would take.
    """
    check_size(height, width)
    assert len(fingerprint) == 8
    version = VERSIONS[(grid is not None) + 2 * (level_map is not None)]
    head = MAGIC + version + fingerprint + bytes([level]) + _varint(height) + _varint(width)
    if grid is not None:
        head += bytes(grid)
    if level_map is not None:
        head += _varint(len(level_map)) + level_map
    body = head + payload + symbols_crc.to_bytes(4, "little")
    return body + zlib.crc32(body).to_bytes(4, "little")


def check_size(height: int, width: int) -> None:
    """Raise UserError for a picture without pixels, or of more than any file holds."""
    if not 0 < height * width <= MAX_PIXELS:
        raise UserError(f"a picture of {width}x{height}; expected 1 to {MAX_PIXELS} pixels; cut it into parts")


def read_container(data: bytes) -> Container:
    """What is in the content of a .lic file.

    Raises UserError, in this order, for a file of another kind, of a newer version, damaged or cut, of absurd size.
    """
    if data[:3] != MAGIC:
        raise UserError(f"not a .lic file: it begins with {data[:4]!r}; expected a file that `codec compress` wrote")
    if data[3:4] not in VERSIONS:
        raise UserError(f".lic version {data[3:4]!r}; this codec reads up to {VERSIONS[-1]!r}; install a newer codec")
    if len(data) < 23 or zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
        raise UserError(f"the file is damaged or cut ({len(data)} bytes): its checksum does not fit; get the file again")
    has_grid, has_map = (bool(VERSIONS.index(data[3:4]) & flag) for flag in (1, 2))
    height, at = _read_varint(data, 13)
    width, at = _read_varint(data, at)
    end = at + 2 * has_grid
    length, begin = _read_varint(data, end) if has_map else (0, end)
    payload = begin + length
    if payload > len(data) - 8:
        raise UserError("the file is damaged: its size cannot be read; get the file again")
    check_size(height, width)
    grid = (data[at], data[at + 1]) if has_grid else None
    if grid is not None and 0 in grid:
        raise UserError("the file is damaged: its grid has no cells; get the file again")
    crc = int.from_bytes(data[-8:-4], "little")
    level_map = data[begin:payload] if has_map else None
    return Container(data[4:12], height, width, data[payload:-8], crc, grid, data[12], level_map)


def read_file(path: Path) -> bytes:
    """The content of a .lic file; UserError for one that is larger than any can be."""
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise UserError(f"{path} has {size} bytes; expected a .lic file, of at most {MAX_BYTES}; check the path")
    return path.read_bytes()
