"""A quality by region: each place of y at a level of its own, decoded to what was encoded, by a small map in the file."""

import math
import random
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import ALL_NAMES, decode_in_another_process, live_model, picture
from PIL import ExifTags, Image

import codec
from codec.files.bundle import in_floats, load_bundle, save_bundle
from codec.files.coding import begin_encoding, decode, decode_batch, decode_latents, encode, estimated_bits, levels_of
from codec.files.container import read_container, write_container
from codec.files.level_map import level_offsets, packed, unpacked
from codec.files.memory import Memory
from codec.files.quality import Wanted, encode_wanted
from codec.interface import PictureCodec
from codec.metrics.quality import psnr
from codec.types import UserError

COUNT, SIZE = 5, (50, 70)

pytestmark = pytest.mark.usefixtures("on_one_thread")


def offsets_for(bundle, size=SIZE, most=3, seed=0):
    places = bundle.model.latent_size(*size)
    return torch.randint(most + 1, places, generator=torch.Generator().manual_seed(seed))


def painted(height, width):
    """White in the middle."""
    quality_map = torch.zeros(height, width, dtype=torch.uint8)
    quality_map[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] = 255
    return quality_map


@pytest.mark.parametrize("name", ALL_NAMES)
def test_a_file_with_a_map_decodes_to_what_was_encoded(levelled_bundles, name):
    encoder, decoder = load_bundle(levelled_bundles[name]), load_bundle(levelled_bundles[name])
    encoded = encode(encoder, picture(*SIZE), level=1, offsets=offsets_for(encoder))
    latents, height, width = decode_latents(decoder, encoded.file)
    assert latents.equal(encoded.latents) and (height, width) == SIZE
    file = read_container(encoded.file)
    assert levels_of(decoder, file).equal(encoded.levels) and encoded.levels.equal(1 + offsets_for(encoder))
    assert abs(encoded.payload_bytes - encoded.table_bits / 8) <= 0.005 * encoded.table_bits / 8 + 8
    low, high = (encode(encoder, picture(*SIZE), level=level).bits_by_stream["y"] for level in (1, 4))
    assert low < encoded.bits_by_stream["y"] < high
    if name == "factorized":  # whose tables hold all but 1e-9, and scales that fit nothing do not
        for measured in (encoder, in_floats(encoder)):
            assert estimated_bits(measured, encoded) == pytest.approx(encoded.table_bits, rel=0.02)


@pytest.mark.parametrize("name", ["factorized", "mean_scale", "hific", "wacnn"])
def test_each_place_has_the_symbols_of_its_level(levelled_bundles, name):
    """Of the first slice, where there are several: what follows sees what came before."""
    bundle, offsets = load_bundle(levelled_bundles[name]), offsets_for(load_bundle(levelled_bundles[name]), most=COUNT - 1)
    mixed = encode(bundle, picture(*SIZE), level=0, offsets=offsets).latents.y_hat
    channels = mixed.size(1) // (10 if name == "wacnn" else 1)
    if name == "wacnn":
        bundle.model.context.residuals[0][-1].weight.zero_()  # whose convolution sees places beside it
        mixed = encode(bundle, picture(*SIZE), level=0, offsets=offsets).latents.y_hat
    for level in range(COUNT):
        plain = encode(bundle, picture(*SIZE), level=level).latents.y_hat
        assert plain[0, :channels, offsets == level].equal(mixed[0, :channels, offsets == level])


@pytest.mark.parametrize("name", ["mean_scale", "segpic"])
def test_a_map_of_one_grey_is_the_plain_file(levelled_bundles, name):
    bundle = load_bundle(levelled_bundles[name])
    for grey, level in ((0, 1), (255, 3)):
        offsets = level_offsets(bundle, torch.full(SIZE, grey, dtype=torch.uint8), 50, SIZE)
        assert encode(bundle, picture(*SIZE), level=1, offsets=offsets).file == encode(bundle, picture(*SIZE), level=level).file
    top = encode(bundle, picture(*SIZE), level=COUNT - 1, offsets=offsets_for(bundle))
    assert top.file == encode(bundle, picture(*SIZE), level=COUNT - 1).file  # beyond which there is none


@pytest.mark.parametrize("name", ["mean_scale", "factorized"])
def test_a_map_of_equal_levels_has_the_symbols_of_the_plain_file(levelled_bundles, name):
    """The codec's own arithmetic of maps, which writes none where they are equal."""
    bundle = load_bundle(levelled_bundles[name])
    plain = encode(bundle, picture(*SIZE), level=3)
    file = read_container(plain.file)
    places = bundle.model.latent_size(*SIZE)
    forged = write_container(bundle.fingerprint, *SIZE, file.payload, file.symbols_crc, None, 1, packed(torch.full(places, 2)))
    assert decode_latents(bundle, forged)[0].equal(plain.latents)


def test_white_is_better_and_the_rest_as_asked(levelled_bundles):
    bundle, size = load_bundle(levelled_bundles["mean_scale"]), (200, 300)
    offsets = level_offsets(bundle, painted(*size), 50, size)
    assert offsets.shape == (16, 20) and offsets.max() == 2 and offsets[0].max() == offsets[:, 0].max() == 0
    assert offsets[4:8, 6:13].eq(2).all()
    halves = level_offsets(bundle, torch.full(size, 128, dtype=torch.uint8), 100, size)
    assert halves.eq(2).all()
    assert level_offsets(bundle, painted(*size), 100, size).max() == COUNT - 1


def test_a_map_is_padded_as_its_picture_is(levelled_bundles):
    bundle = load_bundle(levelled_bundles["mean_scale"])
    quality_map = torch.zeros(70, 20, dtype=torch.uint8)
    quality_map[64:] = 255
    offsets = level_offsets(bundle, quality_map, 100, (70, 20))
    assert offsets.shape == (8, 4) and offsets[4:].eq(4).all() and offsets[:4].eq(0).all()
    tall = torch.zeros(1, 3 * 64 * 16 + 5).T.to(torch.uint8)  # more than a band
    tall[-3:] = 255
    offsets = level_offsets(bundle, tall, 100, tuple(tall.shape))
    assert offsets[:192].eq(0).all() and offsets[192:].eq(2).all()  # three rows of the five in its square


def test_pictures_of_a_batch_share_a_map(levelled_bundles):
    bundle = load_bundle(levelled_bundles["wacnn"])
    images = torch.stack([picture(*SIZE, seed) for seed in range(2)])
    offsets = offsets_for(bundle)
    together = begin_encoding(bundle, images, None, 0, offsets)()
    latents, *_ = decode_batch(bundle, [encoded.file for encoded in together])
    for number, encoded in enumerate(together):
        assert encoded.file == encode(bundle, images[number], None, 0, offsets).file
        assert latents.of(number).equal(decode_latents(bundle, encoded.file)[0])
    other = encode(bundle, images[0], None, 0, offsets_for(bundle, seed=1)).file
    assert read_container(other).shape != read_container(together[0].file).shape


@pytest.mark.parametrize("name", ["mean_scale", "factorized", "wacnn"])
def test_other_processes_and_strips_read_the_same(levelled_bundles, name, tmp_path):
    bundle, size = load_bundle(levelled_bundles[name]), (300, 70)
    high, wide = (side * bundle.model.latent_stride for side in bundle.model.latent_size(*size))
    small = replace(bundle, memory=Memory(bundle.needs.least(1, high, wide), 0, asked=True))
    encoded = encode(bundle, picture(*size), level=1, offsets=offsets_for(bundle, size))
    assert decode_latents(small, encoded.file)[0].equal(encoded.latents)
    in_strips = encode(small, picture(*size), level=1, offsets=offsets_for(bundle, size))
    assert decode_latents(bundle, in_strips.file)[0].equal(in_strips.latents)
    (tmp_path / name).mkdir()
    (tmp_path / f"{name}.safetensors").write_bytes(levelled_bundles[name].read_bytes())
    (tmp_path / name / "a.lic").write_bytes(encoded.file)
    decode_in_another_process(tmp_path, [name], ONEDNN_MAX_CPU_ISA="SSE41", ATEN_CPU_CAPABILITY="default")
    assert torch.load(tmp_path / name / "a.decoded", weights_only=True)[0].equal(encoded.latents.y_hat)


def test_within_a_size_the_map_is_held(levelled_bundles):
    bundle, image = load_bundle(levelled_bundles["mean_scale"]), picture(90, 120)
    offsets = level_offsets(bundle, painted(90, 120), 30, (90, 120))
    files = [encode(bundle, image, level=level, offsets=offsets).file for level in range(COUNT)]
    sizes = [len(file) for file in files]
    assert sizes == sorted(sizes)
    for most in (sizes[0], sizes[1] + 3, sizes[2], sizes[3] - 1):
        found = encode_wanted(bundle, image, None, Wanted(max_bytes=most), offsets).file
        assert found == files[max(level for level in range(COUNT) if sizes[level] <= most)]
    with pytest.raises(UserError, match=f"the smallest file of the picture has {sizes[0]} bytes.*or a smaller offset"):
        encode_wanted(bundle, image, None, Wanted(max_bytes=sizes[0] - 1), offsets)
    asked = psnr(decode(bundle, files[-1]), image) - 0.001
    assert psnr(decode(bundle, encode_wanted(bundle, image, None, Wanted(psnr=asked), offsets).file), image) >= asked


def test_in_python(levelled_bundles):
    ours, image, roi = PictureCodec(load_bundle(levelled_bundles["mean_scale"])), picture(90, 120), painted(90, 120)
    expected = ours.compress(image, quality=25, roi=roi)
    assert read_container(expected).level_map is not None
    grey = Image.fromarray(roi.numpy())
    palette = Image.fromarray((roi.numpy() > 0).astype(np.uint8)).convert("P")
    palette.putpalette([0, 0, 0, 255, 255, 255])
    for same in (roi.numpy(), roi.numpy() > 0, roi > 0, grey, Image.fromarray(roi.numpy() > 0), palette, grey.convert("RGB")):
        assert ours.compress(image, quality=25, roi=same, roi_offset=25) == expected
    assert ours.decompress(expected).size == (120, 90)
    assert len(ours.compress(image, max_bytes=len(expected), roi=roi)) <= len(expected)
    for wrong, words in [
        (roi[:-1], "a map of quality of 120x89 for a picture of 120x90"), (roi.float(), "float32"), (roi[None], "uint8 "),
        (Image.new("RGB", (120, 90), "red"), "the map has colours"), ("roi.png", "str"),
        (Image.new("LA", (120, 90)), "the map has transparent pixels"), (roi // 255, "the map has 0 and 1 alone"),
        (Image.fromarray(roi.numpy() // 255), "the map has 0 and 1 alone"),
    ]:  # fmt: skip
        with pytest.raises(UserError, match=words) as raised:
            ours.compress(image, roi=wrong)
        assert "\n" not in str(raised.value)
    for offset in (0, -3, 101, math.nan, 10**5000, "25"):
        with pytest.raises(UserError, match="an offset of quality of"):
            ours.compress(image, roi=roi, roi_offset=offset)


def test_in_python_a_map_is_turned_as_its_picture_is(levelled_bundles, tmp_path):
    """As the command turns both: a photograph, and a mask that was drawn over it, say by EXIF how they stand."""
    ours, turned = PictureCodec(load_bundle(levelled_bundles["mean_scale"])), Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    roi = torch.zeros(90, 120, dtype=torch.uint8)
    roi[:40, :70] = 255
    for name, pixels in (("image", picture(90, 120).permute(1, 2, 0)), ("roi", roi)):
        Image.fromarray(pixels.numpy()).save(tmp_path / f"{name}.png", exif=turned)
    file = ours.compress(Image.open(tmp_path / "image.png"), roi=Image.open(tmp_path / "roi.png"))
    assert file == ours.compress(picture(90, 120).rot90(-1, (1, 2)), roi=roi.rot90(-1))
    assert read_container(file).level_map is not None


def test_in_python_a_map_that_changes_nothing_is_told(levelled_bundles):
    ours, image, roi = PictureCodec(load_bundle(levelled_bundles["mean_scale"])), picture(90, 120), painted(90, 120)
    for wish, of_no_use, why in [
        ({"quality": 100}, roi, "its map of quality changes nothing, since no level is higher"),
        ({"quality": 50}, torch.zeros_like(roi), "its map of quality asks for no more anywhere"),
    ]:
        with pytest.warns(UserWarning, match=f"^{why}$") as told:
            assert ours.compress(image, roi=of_no_use, **wish) == ours.compress(image, **wish)
        assert told[0].filename == __file__  # of the caller


def test_a_codec_of_one_rate_has_no_map(tmp_path):
    save_bundle(tmp_path / "b", live_model("hyperprior"), {}, half=True)
    with pytest.raises(UserError, match="a map of quality for a codec of one rate; expected one with levels"):
        codec.load(tmp_path / "b").compress(picture(64, 64), roi=np.ones((64, 64), bool))
    bundle = load_bundle(tmp_path / "b")
    file = read_container(encode(bundle, picture(8, 9)).file)
    forged = write_container(bundle.fingerprint, 8, 9, file.payload, file.symbols_crc, level_map=packed(torch.zeros(4, 4)))
    with pytest.raises(UserError, match="it has a map of levels, its codec one rate"):
        decode_latents(bundle, forged)


@pytest.mark.parametrize("most", [0, 1, 255])
def test_offsets_come_back(most):
    for size in ((1, 1), (3, 5), (200, 300)):
        offsets = torch.randint(most + 1, size, generator=torch.Generator().manual_seed(1))
        assert unpacked(packed(offsets), size, most).equal(offsets)


def test_a_map_that_is_none_is_one_line(levelled_bundles):
    """Of another size, of levels that are not there, cut, longer, noise; and none takes memory of its own choosing."""
    bundle = load_bundle(levelled_bundles["mean_scale"])
    encoded = encode(bundle, picture(*SIZE), level=1, offsets=offsets_for(bundle))
    file, places = read_container(encoded.file), bundle.model.latent_size(*SIZE)
    bomb = zlib.compressobj(9, wbits=-15)
    huge = bomb.compress(bytes(10**8)) + bomb.flush()
    rng = random.Random(0)
    wrong = [
        b"", packed(torch.zeros(1, 1)), packed(torch.full(places, 4)), packed(torch.zeros(places[0] + 1, places[1])), huge,
        file.level_map[:-1], file.level_map + b"\0", *(rng.randbytes(20) for _ in range(50)),
    ]  # fmt: skip
    for level_map in wrong:
        forged = write_container(bundle.fingerprint, *SIZE, file.payload, file.symbols_crc, None, 1, level_map)
        with pytest.raises(UserError, match="its map of levels is none") as raised:
            decode_latents(bundle, forged)
        assert "\n" not in str(raised.value)
    turned = packed(offsets_for(bundle).flip(0))
    with pytest.raises(UserError, match="damaged"):  # a map like any other, but not that of these symbols
        decode_latents(bundle, write_container(bundle.fingerprint, *SIZE, file.payload, file.symbols_crc, None, 1, turned))
