"""Pictures come in as they are meant to be seen, and files that cannot are named."""

import numpy as np
import pytest
import torch
from PIL import Image

from codec.types import UserError
from data import images
from data.folders import list_images
from data.images import audit, read_image

COLOURS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def pixels(path):
    return read_image(path).permute(1, 2, 0).numpy()


def many_files(folder, count):
    for number in range(count):
        Image.fromarray(COLOURS).save(folder / f"{number:03}.png")


def test_rgb_is_read_as_it_is(tmp_path):
    for name in ("a.png", "a.webp"):
        Image.fromarray(COLOURS).save(tmp_path / name, lossless=True)
        image = read_image(tmp_path / name)
        assert image.dtype == torch.uint8 and image.is_contiguous()
        assert np.array_equal(pixels(tmp_path / name), COLOURS)


@pytest.mark.parametrize("orientation, turned", [(3, COLOURS[::-1, ::-1]), (6, np.rot90(COLOURS, -1)), (2, COLOURS[:, ::-1])])
def test_exif_orientation_is_applied(tmp_path, orientation, turned):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(COLOURS).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(pixels(tmp_path / "a.png"), turned)


def test_a_picture_too_large_for_a_file_is_refused(tmp_path, monkeypatch):
    Image.fromarray(COLOURS).save(tmp_path / "a.png")
    monkeypatch.setattr(images, "MAX_PIXELS", 599)
    with pytest.raises(UserError, match=r"a.png has 30x20 pixels; expected at most 599; cut it into parts"):
        read_image(tmp_path / "a.png")


def test_grey_is_spread(tmp_path):
    Image.fromarray(COLOURS[..., 0]).save(tmp_path / "a.png")
    assert np.array_equal(pixels(tmp_path / "a.png"), np.repeat(COLOURS[..., :1], 3, axis=2))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_shows_white(tmp_path, mode):
    image = Image.fromarray(COLOURS).convert(mode)
    alpha = np.zeros((20, 30), dtype=np.uint8)
    alpha[:, 15:] = 255
    image.putalpha(Image.fromarray(alpha))
    image.save(tmp_path / "a.png")
    seen = pixels(tmp_path / "a.png")
    assert (seen[:, :15] == 255).all()
    assert np.array_equal(seen[:, 15:], np.asarray(image.convert("RGB"))[:, 15:])


def test_palette_with_and_without_transparency(tmp_path):
    image = Image.fromarray(COLOURS).quantize(16)
    expected = np.asarray(image.convert("RGB"))
    image.save(tmp_path / "a.png")
    assert np.array_equal(pixels(tmp_path / "a.png"), expected)
    image.save(tmp_path / "b.png", transparency=3)
    clear = np.asarray(image) == 3
    seen = pixels(tmp_path / "b.png")
    assert (seen[clear] == 255).all() and np.array_equal(seen[~clear], expected[~clear])


def test_sixteen_bits_are_brought_to_eight(tmp_path):
    deep = COLOURS[..., 0].astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "a.png")
    assert np.array_equal(pixels(tmp_path / "a.png")[..., 0], COLOURS[..., 0])


def test_cmyk_is_brought_to_rgb(tmp_path):
    flat = Image.new("CMYK", (30, 20), (0, 255, 255, 0))
    flat.save(tmp_path / "a.jpg", quality=95)
    assert np.abs(pixels(tmp_path / "a.jpg").astype(int) - (255, 0, 0)).max() < 12


@pytest.mark.parametrize("content", [b"", b"no picture at all", b"\x89PNG\r\n\x1a\n" + bytes(40), b"RIFF\0\0\0\0WEBPVP8 "])
def test_a_file_that_is_no_picture_is_one_line(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UserError, match="a.png") as caught:
        read_image(tmp_path / "a.png")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="missing.png"):
        read_image(tmp_path / "missing.png")


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "bmp", "avif"])
def test_damage_is_an_error_or_a_picture_never_a_crash(tmp_path, suffix):
    Image.fromarray(COLOURS).save(tmp_path / f"whole.{suffix}")
    data = (tmp_path / f"whole.{suffix}").read_bytes()
    rng = np.random.default_rng(1)
    path = tmp_path / f"damaged.{suffix}"
    for _ in range(150):
        damaged = bytearray(data[: rng.integers(1, len(data) + 1)])
        damaged[rng.integers(len(damaged))] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            assert read_image(path).shape[0] == 3
        except UserError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("kind", ["eps", "gif", "ppm", "pdf", "ico"])
def test_other_formats_under_a_pictures_name_are_refused(tmp_path, kind, monkeypatch):
    """Pillow starts Ghostscript to read an EPS, whatever it is called."""
    monkeypatch.setattr("subprocess.check_call", None)
    monkeypatch.setattr("subprocess.Popen", None)
    Image.fromarray(COLOURS).save(tmp_path / "a", kind)
    (tmp_path / "a.png").write_bytes((tmp_path / "a").read_bytes())
    with pytest.raises(UserError, match="no picture that can be read.*expected a sound JPEG.* TIFF or AVIF file") as caught:
        read_image(tmp_path / "a.png")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"1 of 1 pictures are broken.*a.png \(broken\)"):
        audit([tmp_path / "a.png"], 1)


def test_listing_is_recursive_sorted_and_only_pictures(tmp_path):
    (tmp_path / "b" / "c").mkdir(parents=True)
    (tmp_path / "folder.png").mkdir()
    for name in ("b/c/2.JPG", "b/1.png", "a.webp", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path)] == [
        "a.webp",
        "b/1.png",
        "b/c/2.JPG",
    ]


def test_a_missing_or_empty_folder_is_an_error(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match="data.root"):
            list_images(folder)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_one_broken_file_in_a_hundred_is_named_and_left_out(tmp_path, suffix):
    many_files(tmp_path, 99)
    Image.fromarray(COLOURS).save(tmp_path / f"cut.{suffix}")
    data = (tmp_path / f"cut.{suffix}").read_bytes()
    (tmp_path / f"cut.{suffix}").write_bytes(data[: len(data) // 2])
    with pytest.warns(UserWarning, match=f"1 of 100.*cut.{suffix}"):
        assert len(audit(list_images(tmp_path), 16)) == 99


def test_bytes_after_the_picture_do_not_break_it(tmp_path):
    many_files(tmp_path, 1)
    with (tmp_path / "000.png").open("ab") as file:
        file.write(bytes(10000))
    assert len(audit(list_images(tmp_path), 16)) == 1


def test_more_than_one_in_a_hundred_is_an_error(tmp_path):
    many_files(tmp_path, 98)
    (tmp_path / "broken.png").write_bytes(b"x")
    Image.fromarray(COLOURS[:10]).save(tmp_path / "small.png")
    with pytest.raises(UserError, match=r"2 of 100.*broken.png \(broken\), small.png \(30x10\)"):
        audit(list_images(tmp_path), 16)


def test_a_crop_larger_than_every_picture_says_so(tmp_path):
    many_files(tmp_path, 3)
    with pytest.raises(UserError, match="crop of 64 is larger than every one of 3"):
        audit(list_images(tmp_path), 64)


def maps_of(paths, folder, size=(30, 20)):
    """A map for each picture, in a folder of its own."""
    folder.mkdir()
    maps = [folder / f"{path.stem}.png" for path in paths]
    for path in maps:
        Image.new("L", size).save(path)
    return maps


@pytest.mark.parametrize(
    "spoil, fault",
    [
        (lambda path: path.unlink(), "no map"),
        (lambda path: path.write_bytes(b""), "map empty"),
        (lambda path: path.write_bytes(path.read_bytes()[:50]), "map broken"),
        (lambda path: Image.new("L", (30, 21)).save(path), "map of 30x21 for 30x20"),
    ],
)
def test_a_picture_without_a_sound_map_is_named_and_left_out(tmp_path, spoil, fault):
    many_files(tmp_path, 100)
    paths = list_images(tmp_path)
    maps = maps_of(paths, tmp_path / "maps")
    assert audit(paths, 16, maps) == paths
    spoil(maps[7])
    with pytest.warns(UserWarning, match=rf"1 of 100 pictures are left out: 007.png \({fault}\)"):
        assert audit(paths, 16, maps) == paths[:7] + paths[8:]
    spoil(maps[8])
    with pytest.raises(UserError, match=f"2 of 100 .* have no map of their size: .*{fault}"):
        audit(paths, 16, maps)


def test_broken_pictures_and_missing_maps_are_in_one_summary(tmp_path):
    many_files(tmp_path, 200)
    paths = list_images(tmp_path)
    maps = maps_of(paths, tmp_path / "maps")
    paths[3].write_bytes(b"x")
    maps[5].unlink()
    with pytest.warns(UserWarning, match=r"2 of 200 .* 003.png \(broken\), 005.png \(no map\)") as caught:
        assert len(audit(paths, 16, maps)) == 198
    assert len(caught) == 1


def test_the_map_of_a_turned_picture_lies_as_the_picture_is_seen(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for suffix in ("jpg", "png", "webp"):
        Image.fromarray(COLOURS).save(tmp_path / f"{suffix}.{suffix}", exif=exif)
    paths = list_images(tmp_path)
    assert audit(paths, 16, maps_of(paths, tmp_path / "upright", size=(20, 30))) == paths
    with pytest.raises(UserError, match="map of 30x20 for 20x30"):
        audit(paths, 16, maps_of(paths, tmp_path / "turned"))
