"""What stands beside the pixels of a picture file: how it is to be turned; and the file without that, where it is damaged."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

ORIENTATION = ExifTags.Base.Orientation
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip
PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
ORIENTING_TEXTS = (b"Raw profile type", b"XML:com.adobe.xmp")
MOST_BYTES = 2**30  # of a file: more than the largest picture takes, uncompressed at 16 bits
MOST_TEXT = 2**20  # bytes of a chunk, above which Pillow refuses the picture
MEANINGS = (0xE0, 0xEE)  # the application segments of a JPEG, JFIF's and Adobe's, by which its numbers are colours


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """What brings the pixels of an opened file upright; None for nothing."""
    return None if isinstance(image, TiffImageFile) else TURNS.get(orientation(image))  # Pillow turns a TIFF as it loads it


def upright(image: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    """The picture as it is meant to be seen. Metadata are left alone: odd ones could not be written again."""
    return image if turn is None else image.transpose(turn)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of an opened file as it is meant to be seen; its pixels are not read, as a rule."""
    known = isinstance(image, TiffImageFile) and ORIENTATION in image.tag_v2  # by the size of its header, too
    turned = not known and orientation(image) >= 5
    return (image.height, image.width) if turned else (image.width, image.height)


def orientation(image: Image.Image) -> int:
    """How a picture is to be turned, 1 to 8 as EXIF counts, by its EXIF, by a raw profile or by XMP.

    1 where none of them says anything sound: a value or a type that is not EXIF's turns nothing.
    """
    if isinstance(image, PngImageFile) and image.tile and _says_more_behind(image):
        image = _with_what_is_behind(image)
    try:
        value = Image.Image.getexif(image).get(ORIENTATION)  # PngImageFile's own loads the picture
    except Exception:  # whatever its bytes lead a parser into, the picture is sound without them
        return 1
    return value if type(value) is int and value in TURNS else 1


def _says_more_behind(image: PngImageFile) -> bool:
    """Whether EXIF or XMP of a PNG stand behind its pixels, where Pillow finds them as it loads these."""
    file = image.fp
    assert file is not None
    before, pixels = file.tell(), False
    try:
        for kind, first, _ in _chunks(file):
            pixels = pixels or kind == b"IDAT"
            file.seek(first)
            if pixels and (kind == b"eXIf" or kind in TEXTS and file.read(17).startswith(ORIENTING_TEXTS)):
                return True
        return False
    finally:
        file.seek(before)


def _with_what_is_behind(image: PngImageFile) -> Image.Image:
    """The same picture once more, loaded, since Pillow reads to the end then; the one that is given stays unloaded."""
    assert image.fp is not None
    before = image.fp.tell()
    image.fp.seek(0)
    twin = Image.open(io.BytesIO(image.fp.read()), formats=["PNG"])
    image.fp.seek(before)
    twin.load()
    return twin


def _chunks(file: IO[bytes]) -> Iterator[tuple[bytes, int, int]]:
    """The chunks of a PNG: kind, and first and last place of the content. What is cut at the end comes as it is said to be."""
    place = len(PNG)
    while True:
        file.seek(place)
        head = file.read(8)
        if len(head) < 8:
            return
        length, kind = struct.unpack(">I4s", head)
        yield kind, place + 8, place + 8 + length
        place += length + 12


def without_metadata(path: Path) -> Iterator[bytes]:
    """A JPEG or PNG file with ever less beside its pixels: without what Pillow would not take, then without all of it."""
    with path.open("rb") as file:
        beginning = file.read(len(PNG))
        content = beginning + (file.read(MOST_BYTES) if beginning.startswith((PNG, JPEG)) else b"")
    if content.startswith(PNG):
        yield _without_chunks(content, _is_sound)
        yield _without_chunks(content, lambda kind, body: kind == b"tRNS")
    elif content.startswith(JPEG):
        yield _without_segments(content)


def _without_chunks(content: bytes, is_kept: Callable[[bytes, bytes], bool]) -> bytes:
    """The PNG with its critical chunks, and those that are intact and kept."""
    parts = [PNG]
    for kind, first, last in _chunks(io.BytesIO(content)):
        body, checksum = content[first:last], content[last : last + 4]
        intact = zlib.crc32(kind + body).to_bytes(4) == checksum
        if kind[:1].isupper() or intact and is_kept(kind, body):
            parts.append(content[first - 8 : last + 4])
    return b"".join(parts)


def _is_sound(kind: bytes, body: bytes) -> bool:
    """Whether a chunk says how the picture looks, and is no larger than Pillow takes."""
    if kind == b"iCCP":
        name, _, packed = body.partition(b"\0")
        return len(zlib.decompressobj().decompress(packed[1:], MOST_TEXT + 1)) <= MOST_TEXT
    if kind in TEXTS:
        keyword, _, text = body.partition(b"\0")
        return keyword.startswith(ORIENTING_TEXTS) and len(body) <= MOST_TEXT and kind != b"zTXt" and not text.startswith(b"\1")
    return kind in (b"tRNS", b"eXIf")


def _without_segments(content: bytes) -> bytes:
    """The JPEG without application segments and comments, but for what says what its numbers mean."""
    parts, place = [JPEG], len(JPEG)
    while content[place : place + 1] == b"\xff" and (marker := content[place + 1]) != 0xDA:
        last = place + 2 + int.from_bytes(content[place + 2 : place + 4])
        is_said = marker in MEANINGS or content.startswith(b"ICC_PROFILE\0", place + 4)
        if is_said or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            parts.append(content[place:last])
        place = last
    return b"".join([*parts, content[place:]])
