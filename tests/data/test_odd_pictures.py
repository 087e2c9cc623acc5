"""Sound pictures with odd things in them are pictures, and look as they should; of others one line says why not.

Where a test has a source, the oddity was reported there; its file is made here.
"""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from codec.interface import as_image
from codec.report.contact_sheet import write_sheet_of_set
from codec.types import UserError
from data.images import audit, look_at, read_image, read_picture, remarks
from data.map_making import make_maps, named
from data.metadata import upright_size
from data.region_sources.label_files import read_labels
from data.region_sources.source import RegionSource

COLOURS = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
SMOOTH = np.stack(np.meshgrid(np.linspace(30, 220, 64), np.linspace(220, 30, 48)) + [np.full((48, 64), 90)], axis=2).astype(
    np.uint8
)
ORIENTATION, RESOLUTION, SHORT, ASCII, RATIONAL, SIGNED_RATIONAL = 0x112, 0x11A, 3, 2, 5, 10


def pixels(path):
    return read_image(path).permute(1, 2, 0).numpy()


def exif(*entries):
    """An EXIF block of one directory: (tag, type, count, four bytes), and content that follows it."""
    *entries, content = entries
    body = b"".join(struct.pack("<HHI4s", tag, kind, count, value) for tag, kind, count, value in entries)
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries)) + body + struct.pack("<I", 0) + content


TURN_6 = (ORIENTATION, SHORT, 1, struct.pack("<HH", 6, 0))


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(numbers, depth=8, before=b"", behind=b""):
    """A PNG of numbers [H, W] or [H, W, C] of a depth, with chunks before and behind the pixels."""
    height, width = numbers.shape[:2]
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[1 if numbers.ndim == 2 else numbers.shape[2]]
    rows = numbers.reshape(height, -1)
    if depth < 8:
        bits = np.unpackbits(rows.astype(np.uint8)[..., None], axis=2)[..., -depth:].reshape(height, -1)
        lines = [np.packbits(row).tobytes() for row in bits]
    else:
        lines = [row.astype(">u2" if depth == 16 else np.uint8).tobytes() for row in rows]
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + line for line in lines)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + before + body + behind + chunk(b"IEND", b"")


def tiff(numbers, photometric=1, tags=()):
    """An uncompressed TIFF of numbers [H, W], or [H, W, 3]."""
    height, width = numbers.shape[:2]
    channels = 1 if numbers.ndim == 2 else numbers.shape[2]
    entries = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8 * numbers.itemsize), (262, 3, 1, photometric), (273, 4, 1, 8),
        (277, 3, 1, channels), (278, 4, 1, height), (279, 4, 1, numbers.nbytes), *tags,
        (339, 3, 1, 3 if numbers.dtype.kind == "f" else 1 if numbers.dtype.kind == "u" else 2),
    ]  # fmt: skip
    if channels == 3:
        entries[2] = (258, 3, 3, 8 + numbers.nbytes)
    directory = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    behind = struct.pack("<3H", *[8 * numbers.itemsize] * 3)
    place = 8 + numbers.nbytes + len(behind)
    return (
        b"II*\0"
        + struct.pack("<I", place)
        + numbers.tobytes()
        + behind
        + struct.pack("<H", len(entries))
        + directory
        + bytes(4)
    )


def profile(primaries=((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)), gamma=1.8, name=b"wide"):
    """An ICC profile of an RGB space with these primaries, at D50; ProPhoto's unless others are given."""
    white = np.array([0.9642, 1.0, 0.8249])
    xyz = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    xyz = xyz * np.linalg.solve(xyz, white)

    def fixed(*values):
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    parts = {b"wtpt": b"XYZ \0\0\0\0" + fixed(*white)}
    parts |= {tag: b"XYZ \0\0\0\0" + fixed(*column) for tag, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), xyz.T, strict=True)}
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    parts |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    parts[b"desc"] = b"desc\0\0\0\0" + struct.pack(">I", len(name) + 1) + name + bytes(80)
    parts[b"cprt"] = b"text\0\0\0\0none\0\0\0\0"
    table, body, place = struct.pack(">I", len(parts)), b"", 132 + 12 * len(parts)
    for tag, content in parts.items():
        content += bytes(-len(content) % 4)
        table += struct.pack(">4sII", tag, place + len(body), len(content))
        body += content
    head = struct.pack(">I4sI4s4s4s", place + len(body), b"none", 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + fixed(*white)
    return head.ljust(128, b"\0") + table + body


def in_profile(colours, icc):
    """The numbers that give these sRGB colours in the space of a profile."""
    return ImageCms.profileToProfile(
        Image.fromarray(colours), ImageCms.createProfile("sRGB"), ImageCms.ImageCmsProfile(io.BytesIO(icc))
    )


# Orientation


def turned_files(folder: Path):
    """The same picture, to be turned, said in every way."""
    image, data = Image.fromarray(SMOOTH), exif(TURN_6, b"")
    odd = exif(TURN_6, (RESOLUTION, SIGNED_RATIONAL, 1, struct.pack("<I", 38)), struct.pack("<ii", -1, 0))
    xmp = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    raw = f"\nexif\n{len(data):8}\n{data.hex()}\n".encode()
    for name, content in (("exif.jpg", data), ("exif.webp", data), ("odd.jpg", odd)):
        image.save(folder / name, exif=content, **({"lossless": True} if name.endswith("webp") else {"quality": 95}))
    image.save(folder / "xmp.jpg", xmp=xmp.encode(), quality=95)
    image.save(folder / "tag.tif", tiffinfo={ORIENTATION: 6})
    image.save(folder / "xmp.tif", tiffinfo={700: xmp.encode()})
    text = b"XML:com.adobe.xmp\0\0\0\0\0" + xmp.encode()
    for place in ("before", "behind"):
        (folder / f"exif_{place}.png").write_bytes(png(SMOOTH, **{place: chunk(b"eXIf", data[6:])}))
        (folder / f"xmp_{place}.png").write_bytes(png(SMOOTH, **{place: chunk(b"iTXt", text)}))
        (folder / f"raw_{place}.png").write_bytes(png(SMOOTH, **{place: chunk(b"tEXt", b"Raw profile type exif\0" + raw)}))
    return sorted(folder.iterdir())


def test_a_picture_is_turned_wherever_that_is_said_and_header_and_pixels_agree(tmp_path):
    files = turned_files(tmp_path)
    assert len(files) == 12
    for path in files:
        assert look_at(path, upright_size) == (48, 64), path.name
        assert np.abs(pixels(path).astype(int) - np.rot90(SMOOTH, -1)).mean() < 2, path.name
        with Image.open(path) as image:
            assert as_image(image).shape == (3, 64, 48)


def test_maps_are_turned_as_pictures_are(tmp_path):
    labels = np.arange(48 * 64).reshape(48, 64) // 500
    (tmp_path / "a.png").write_bytes(png(labels, before=chunk(b"eXIf", exif(TURN_6, b"")[6:])))
    assert np.array_equal(read_labels(tmp_path / "a.png"), np.rot90(labels, -1))
    pictures = [path for path in turned_files(tmp_path) if path.name != "a.png"]
    Image.new("L", (48, 64)).save(tmp_path / "map.png")
    assert audit(pictures, 16, [tmp_path / "map.png"] * len(pictures)) == pictures


class OneRegion(RegionSource):
    """A region a picture, as large as its pixels are."""

    name = "one"

    def region_map(self, image, relative):
        return np.zeros(read_image(image).shape[1:], dtype=np.int64)


def test_maps_are_made_of_every_sound_picture(tmp_path):
    """Whose size is taken from its header, and whose map from its pixels; whatever its name is."""
    files = turned_files(tmp_path)
    Image.fromarray(SMOOTH).save(tmp_path / "text.jpg", exif=exif((ORIENTATION, ASCII, 2, b"6\0\0\0"), b""))
    for stem in ("x" * 251, os.fsdecode(b"caf\xe9")):
        Image.fromarray(SMOOTH).save(tmp_path / f"{stem}.png")
    (tmp_path / os.fsdecode(b"no\xe9.png")).write_bytes(b"no")
    for number, path in enumerate(files):
        path.rename(tmp_path / f"{number}{path.suffix}")
    names = [path.name for path in tmp_path.iterdir()]
    source = OneRegion(tmp_path / "maps", {"min_area": 0, "max_regions": None})
    done = make_maps(source, tmp_path, names, processes=2)
    assert len(done.made) == len(files) + 3 and [fault.reason for fault in done.faults] == ["broken"]
    assert named(done.faults) == "no\\udce9.png (broken)"
    assert len(make_maps(source, tmp_path, names).found) == len(files) + 3
    write_sheet_of_set(done.made, tmp_path, source.maps, tmp_path / "sheet.png")


@pytest.mark.parametrize("content", [
    exif((ORIENTATION, ASCII, 2, b"6\0\0\0"), b""),
    exif((ORIENTATION, SHORT, 1, struct.pack("<HH", 9, 0)), b""),
    exif((ORIENTATION, RATIONAL, 1, struct.pack("<I", 9999)), b""),
    b"Exif\0\0II*\0", b"Exif\0\0", b"Exif\0\0" + bytes(50),
])  # fmt: skip
def test_metadata_that_say_nothing_sound_turn_nothing(tmp_path, content):
    Image.fromarray(SMOOTH).save(tmp_path / "a.jpg", exif=content, quality=95)
    assert pixels(tmp_path / "a.jpg").shape == (48, 64, 3) and look_at(tmp_path / "a.jpg", upright_size) == (64, 48)


@pytest.mark.parametrize("content", [
    b"Exif\0\0" + exif(TURN_6, b""), exif((ORIENTATION, SHORT, 2, struct.pack("<HH", 6, 6)), b""),
])  # fmt: skip
def test_what_nearly_says_how_to_turn_says_the_same_to_all(tmp_path, content):
    """Two headers one after the other: python-pillow/Pillow#8348."""
    Image.fromarray(SMOOTH).save(tmp_path / "a.jpg", exif=content, quality=95)
    assert pixels(tmp_path / "a.jpg").shape[1::-1] == look_at(tmp_path / "a.jpg", upright_size)


@pytest.mark.parametrize("entry, content", [
    ((RESOLUTION, SIGNED_RATIONAL, 1, struct.pack("<I", 38)), struct.pack("<ii", -1, 0)),
    ((RESOLUTION, RATIONAL, 2, struct.pack("<I", 38)), struct.pack("<4I", 72, 1, 72, 1)),
    ((RESOLUTION, 7, 4, b"\1\2\3\4"), b""), ((RESOLUTION, 1024, 1, bytes(4)), b""),
    ((0x8769, 4, 1, struct.pack("<I", 2**31)), b""),
])  # fmt: skip
def test_tags_that_cannot_be_written_again_need_not_be(tmp_path, entry, content):
    """python-pillow/Pillow#4346, #3973 and #4665: turning such a picture failed as its metadata were written."""
    Image.fromarray(SMOOTH).save(tmp_path / "a.jpg", exif=exif(TURN_6, entry, content), quality=95)
    assert pixels(tmp_path / "a.jpg").shape == (64, 48, 3)


# What else stands in files


@pytest.mark.parametrize("place", ["before", "behind"])
@pytest.mark.parametrize("odd", [
    chunk(b"zTXt", b"prompt\0\0" + zlib.compress(bytes(2**21))), chunk(b"tEXt", b"args\0" + b"a" * 10 * 2**20),
    chunk(b"iTXt", b"a\0\1\0\0\0" + zlib.compress(bytes(2**21))), chunk(b"tEXt", b"a\0b")[:-1] + b"?",
    chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(2**21))), chunk(b"iCCP", b"a\0\0no"), chunk(b"eXIf", b"")[:-1] + b"?",
])  # fmt: skip
def test_large_and_damaged_chunks_beside_the_pixels_are_skipped(tmp_path, odd, place):
    """Ten megabytes of text: opencv/opencv#22551. A profile of over one: python-pillow/Pillow#2445."""
    (tmp_path / "a.png").write_bytes(png(SMOOTH, **{place: odd + chunk(b"eXIf", exif(TURN_6, b"")[6:])}))
    picture = read_picture(tmp_path / "a.png")
    assert np.array_equal(picture.image.permute(1, 2, 0).numpy(), np.rot90(SMOOTH, -1))
    if place == "before" and b"tEXtargs" not in odd:  # that much Pillow takes, and behind the pixels some more
        assert any("metadata" in remark or "profile" in remark for remark in picture.remarks)


def test_a_text_chunk_does_not_hide_damage_of_the_pixels(tmp_path):
    data = png(COLOURS, before=chunk(b"tEXt", b"a\0b")[:-1] + b"?")
    (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="no picture that can be read"):
        read_image(tmp_path / "a.png")


def with_segment(path, content):
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xe2" + struct.pack(">H", len(content) + 2) + content + data[2:])


@pytest.mark.parametrize("directory", [
    struct.pack("<H", 0), struct.pack("<HHHI4s", 1, 45056, 7, 4, b"0100"), struct.pack("<HHHII", 1, 45057, 4, 1, 2**31),
    struct.pack("<HHHI4s", 1, 45057, 2, 4, b"two\0"), b"\xff" * 60,
])  # fmt: skip
def test_a_malformed_index_of_further_pictures_is_skipped(tmp_path, directory):
    """python-pillow/Pillow#1328: cameras write such indices for thumbnails, each in its way."""
    Image.fromarray(SMOOTH).save(tmp_path / "a.jpg", quality=95)
    expected = pixels(tmp_path / "a.jpg")
    with_segment(tmp_path / "a.jpg", b"MPF\0II*\0\x08\0\0\0" + directory + bytes(8))
    assert np.array_equal(pixels(tmp_path / "a.jpg"), expected)


@pytest.mark.parametrize("kind", ["MPO", "WEBP", "PNG", "TIFF", "AVIF"])
def test_more_frames_than_one_are_told(tmp_path, kind):
    """python-pillow/Pillow#1138: phones and cameras add pictures behind the one that is seen."""
    frames = [Image.fromarray(np.full((48, 64, 3), level, dtype=np.uint8)) for level in (40, 120, 200)]
    suffix = {"MPO": "jpg", "TIFF": "tif"}.get(kind, kind.lower())
    frames[0].save(tmp_path / f"a.{suffix}", kind, save_all=True, append_images=frames[1:])
    picture = read_picture(tmp_path / f"a.{suffix}")
    assert picture.remarks == ("the first of 3 frames was taken",)
    assert abs(picture.image.float().mean() - 40) < 3


# Colours


def test_a_wide_gamut_is_brought_to_srgb_and_told(tmp_path):
    icc = profile()
    in_profile(SMOOTH, icc).save(tmp_path / "wide.png", icc_profile=icc)
    picture = read_picture(tmp_path / "wide.png")
    assert np.abs(picture.image.permute(1, 2, 0).numpy().astype(int) - SMOOTH).mean() < 1.5
    assert picture.remarks == ("colours brought from 'wide' to sRGB",)
    assert np.abs(np.asarray(Image.open(tmp_path / "wide.png"), dtype=int) - SMOOTH).mean() > 10


def test_a_profile_of_srgb_changes_nothing(tmp_path):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(COLOURS).save(tmp_path / "a.png", icc_profile=srgb)
    picture = read_picture(tmp_path / "a.png")
    assert np.array_equal(picture.image.permute(1, 2, 0).numpy(), COLOURS) and picture.remarks == ()


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("icc", [b"no profile", bytes(200), profile().replace(b"RGB XYZ ", b"GRAYXYZ "), profile()[:300]])
def test_a_profile_that_does_not_fit_is_left_aside_and_told(tmp_path, mode, icc):
    image = Image.fromarray(SMOOTH).convert(mode)
    image.save(tmp_path / "plain.jpg", quality=95)
    image.save(tmp_path / "a.jpg", quality=95, icc_profile=icc)
    picture = read_picture(tmp_path / "a.jpg")
    if picture.remarks != ("a colour profile that does not fit it was left aside",):
        assert mode == "L" and b"GRAY" in icc  # which may fit a grey picture
    else:
        assert np.array_equal(picture.image.permute(1, 2, 0).numpy(), pixels(tmp_path / "plain.jpg"))


def test_a_profile_leaves_transparent_pixels_white(tmp_path):
    icc = profile()
    image = in_profile(SMOOTH, icc)
    image.putalpha(Image.fromarray(np.repeat([[0, 255]], 48, axis=0).repeat(32, axis=1).astype(np.uint8)))
    image.save(tmp_path / "a.png", icc_profile=icc)
    seen = pixels(tmp_path / "a.png")
    assert (seen[:, :32] == 255).all() and np.abs(seen[:, 32:].astype(int) - SMOOTH[:, 32:]).mean() < 1.5


@pytest.mark.parametrize("place", ["before", "behind"])
@pytest.mark.parametrize("what", ["grey", "colours", "deep grey", "deep colours", "opacity", "deep opacity", "key", "profile"])
def test_every_kind_of_picture_is_turned(tmp_path, what, place):
    depth = 16 if "deep" in what else 8
    numbers = np.random.default_rng(3).integers(0, 2**depth, (48, 64, 4 if "opacity" in what else 3))
    numbers = numbers[..., 0] if "grey" in what else numbers
    beside = chunk(b"tRNS", numbers[7, 9].astype(">u2").tobytes()) if what == "key" else b""
    beside = chunk(b"iCCP", b"a\0\0" + zlib.compress(profile())) if what == "profile" else beside
    turn = chunk(b"eXIf", exif(TURN_6, b"")[6:])
    chunks = {"before": beside + turn} if place == "before" else {"before": beside, "behind": turn}
    (tmp_path / "plain.png").write_bytes(png(numbers, depth, before=beside))
    (tmp_path / "turned.png").write_bytes(png(numbers, depth, **chunks))
    assert np.array_equal(pixels(tmp_path / "turned.png"), np.rot90(pixels(tmp_path / "plain.png"), -1))


# Depth and transparency


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_are_rounded_to_eight_whatever_the_channels(tmp_path, channels):
    deep = np.random.default_rng(1).integers(0, 65536, (48, 64, channels), dtype=np.uint16)
    if channels in (2, 4):
        deep[..., -1] = 65535
    colours = np.rint(deep[..., : 3 if channels > 2 else 1] / 257).astype(int)
    (tmp_path / "a.png").write_bytes(png(deep[..., 0] if channels == 1 else deep, 16))
    assert np.abs(pixels(tmp_path / "a.png") - colours).max() <= (1 if channels == 2 else 0)


@pytest.mark.parametrize("depth, channels", [(1, 1), (2, 1), (4, 1), (8, 1), (16, 1), (8, 3), (16, 3)])
def test_the_colour_that_stands_for_transparency_is_white_and_no_other(tmp_path, depth, channels):
    """One bit: python-pillow/Pillow#3379. Of 16 bits the lower ones count."""
    top = 2**depth
    numbers = np.random.default_rng(2).integers(0, top, (48, 64, channels))
    key = np.array([0x1234, 0x5678, 0x9ABC])[:channels] % top
    numbers[:24, :32], numbers[24:, 32:] = key, (key + [1, 0, 0][:channels]) % top  # one that differs in the lowest bit
    shown = numbers[..., 0] if channels == 1 else numbers
    (tmp_path / "a.png").write_bytes(png(shown, depth, before=chunk(b"tRNS", key.astype(">u2").tobytes())))
    clear = (numbers == key).all(axis=2)
    expected = np.where(clear[..., None], 255, np.rint(numbers * 255 / (top - 1)))
    assert np.array_equal(pixels(tmp_path / "a.png"), np.broadcast_to(expected, (48, 64, 3)))


@pytest.mark.parametrize("depth", [8, 16])
def test_opacity_counts_alike_at_8_and_16_bits(tmp_path, depth):
    numbers = np.concatenate([np.zeros((48, 64, 3)), np.linspace(0, 1, 64)[None, :, None].repeat(48, axis=0)], axis=2)
    (tmp_path / "a.png").write_bytes(png(np.rint(numbers * (2**depth - 1)).astype(int), depth))
    expected = np.rint(255 * (1 - np.linspace(0, 1, 64)))
    assert np.abs(pixels(tmp_path / "a.png")[:, :, 0] - expected).max() <= 1


def test_floating_point_from_0_to_1_is_read_by_its_range(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff(SMOOTH[..., 0].astype("<f4") / 255))
    assert np.array_equal(pixels(tmp_path / "a.tif")[..., 0], SMOOTH[..., 0])


@pytest.mark.parametrize("numbers, complaint", [
    (SMOOTH[..., 0].astype("<f4"), r"floating-point numbers from 30 to 220; expected 0 to 1"),
    (np.full((48, 64), np.nan, "<f4"), r"floating-point numbers from nan"),
    (SMOOTH[..., 0].astype("<u2") * 16, r"holds 3520 at most, as if its 16 bits were 12; .* MaxSampleValue"),
    (SMOOTH.astype("<u2") * 16, r"holds 3520 at most, as if its 16 bits were 12"),
    (SMOOTH[..., 0].astype("<i4") * 4000, r"numbers from 120000 to 880000; expected 0 to 65535"),
    (SMOOTH[..., 0].astype("<i2") - 500, r"numbers from -470 to -280"),
    (SMOOTH[..., 0].astype("<f8"), r"TIFF: .*unknown pixel mode"), (SMOOTH.astype("<f4") / 255, r"TIFF: .*unknown pixel mode"),
])  # fmt: skip
def test_numbers_of_no_known_brightness_are_refused_in_one_line(tmp_path, numbers, complaint):
    (tmp_path / "a.tif").write_bytes(tiff(numbers, 2 if numbers.ndim == 3 else 1))
    with pytest.raises(UserError, match=complaint) as caught:
        read_image(tmp_path / "a.tif")
    assert "\n" not in str(caught.value) and str(caught.value).startswith(str(tmp_path / "a.tif"))
    with pytest.raises(UserError, match=r"1 of 1 pictures are broken.* a.tif \((broken|holds .*)\)"):
        audit([tmp_path / "a.tif"], 16)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_tiff_may_say_how_bright_its_numbers_are(tmp_path, channels):
    colours = SMOOTH[..., :channels]
    twelve = np.rint(colours * (4095 / 255)).astype("<u2")
    shown, photometric = (twelve[..., 0], 1) if channels == 1 else (twelve, 2)
    (tmp_path / "a.tif").write_bytes(tiff(shown, photometric, tags=[(281, 3, 1, 4095)]))
    assert np.array_equal(pixels(tmp_path / "a.tif"), np.broadcast_to(colours, (48, 64, 3)))


@pytest.mark.parametrize("kind", ["u1", "<u2"])
def test_where_white_is_zero_it_is_white(tmp_path, kind):
    """python-pillow/Pillow#4804 and image-rs/image-tiff#296: at 16 bits such a picture came out as its negative."""
    scale = 257 if kind == "<u2" else 1
    (tmp_path / "a.tif").write_bytes(tiff((SMOOTH[..., 0].astype(int) * scale).astype(kind), photometric=0))
    assert np.array_equal(pixels(tmp_path / "a.tif")[..., 0], 255 - SMOOTH[..., 0])


# What is none


@pytest.mark.parametrize("content, reason", [
    (b"", "it is empty"), (b"GIF89a" + bytes(30), "it is GIF"), (b"%!PS-Adobe-3.0 EPSF-3.0\n", "it is EPS"),
    (b"<html>not found</html>", "it begins like no picture"),
    (b"\0\0\0\x18ftypheic" + bytes(30), "it is HEIF; install pillow-heif"),
    (b"\xff\x0a" + bytes(30), "it is JXL; install pillow-jxl-plugin"), (png(COLOURS)[:200], "truncated"),
    (b"\x89PNG\r\n\x1a\n" + bytes(40), "PNG: "),
])  # fmt: skip
def test_what_is_no_picture_is_refused_for_its_own_reason(tmp_path, content, reason):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UserError, match=f"a.png is no picture that can be read \\(.*{reason}.*\\); expected a sound") as caught:
        read_image(tmp_path / "a.png")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["bmp", "tif", "avif", "jfif", "jpg", "png", "webp"])
def test_every_format_is_read_whatever_it_is_called(tmp_path, suffix):
    Image.fromarray(SMOOTH).save(tmp_path / f"a.{suffix}", quality=95)
    (tmp_path / "b.png").write_bytes((tmp_path / f"a.{suffix}").read_bytes())
    assert np.abs(pixels(tmp_path / "b.png").astype(int) - SMOOTH).mean() < 3
    assert look_at(tmp_path / "b.png", remarks) == ()


def test_what_memory_lacks_is_not_the_files_fault(tmp_path, monkeypatch):
    Image.fromarray(SMOOTH).save(tmp_path / "a.png")

    def full(*_):
        raise MemoryError

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", full)
    with pytest.raises(MemoryError):
        read_image(tmp_path / "a.png")
