"""The level at which a picture is coded, by quality, size or PSNR: no file is larger than asked, and no picture worse."""

import math
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import pytest
import torch
from conftest import live_levels, live_model, one_thread, picture

import codec
from codec.entropy.levels import Levels
from codec.files import coding, quality
from codec.files.bundle import load_bundle, save_bundle
from codec.files.coding import analysed, decode, encode
from codec.files.container import read_container
from codec.files.memory import Memory
from codec.files.quality import Wanted, begin_wanted, encode_wanted
from codec.interface import PictureCodec
from codec.metrics.quality import psnr
from codec.models import Codec
from codec.types import UserError

COUNT, IMAGE = 12, picture(90, 120)

pytestmark = pytest.mark.usefixtures("on_one_thread")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    path = tmp_path_factory.mktemp("quality") / "codec.safetensors"
    with one_thread():
        save_bundle(path, live_levels("mean_scale", COUNT), {}, half=True)
    return load_bundle(path)


@pytest.fixture(scope="module")
def files(bundle):
    """Of each level."""
    return [encode(bundle, IMAGE, level=level).file for level in range(COUNT)]


@pytest.mark.parametrize("asked, level", [(0, 0), (100, COUNT - 1), (54.0, 6), (None, COUNT // 2), (9, 1), (4, 0)])
def test_a_quality_is_a_share_of_the_levels(bundle, files, asked, level):
    assert encode_wanted(bundle, IMAGE, None, Wanted(asked)).file == files[level]


@pytest.mark.parametrize("count", range(2, 65))
def test_half_of_the_quality_is_the_rate_by_default(count):
    """For every number of levels, as README and `codec compress --help` say."""
    bundle = SimpleNamespace(model=SimpleNamespace(levels=Levels(count, 1)))
    assert quality.level_of(bundle, 50) == Codec.middle_level.fget(bundle.model)


def test_the_file_is_the_largest_that_fits(bundle, files):
    sizes = [len(file) for file in files]
    assert sizes == sorted(sizes) and sizes[-1] > 1.3 * sizes[0]  # else nothing is tested
    for most in {*sizes, *(size + 1 for size in sizes[::3]), *(size - 1 for size in sizes[1::3]), 10**6}:
        expected = max((size for size in sizes if size <= most), default=None)
        if expected is None:
            continue
        assert len(encode_wanted(bundle, IMAGE, None, Wanted(max_bytes=most)).file) == expected
        assert len(encode_wanted(bundle, IMAGE, None, Wanted(bpp=8 * most / IMAGE[0].numel() + 1e-9)).file) == expected
    with pytest.raises(UserError, match=f"the smallest file of the picture has {sizes[0]} bytes; expected at most"):
        encode_wanted(bundle, IMAGE, None, Wanted(max_bytes=sizes[0] - 1))


def test_the_picture_is_no_worse_than_asked(bundle, files):
    qualities = [psnr(decode(bundle, file), IMAGE) for file in files]
    for asked in (min(qualities) - 1, qualities[-1] - 0.001):
        assert psnr(decode(bundle, encode_wanted(bundle, IMAGE, None, Wanted(psnr=asked)).file), IMAGE) >= asked
    best = max(qualities[level] for level in bundle.model.levels.spread(8))
    said = f"of the 8 levels tried the best picture has {math.floor(100 * best) / 100:.2f} dB; expected at least"
    with pytest.raises(UserError, match=said):
        encode_wanted(bundle, IMAGE, None, Wanted(psnr=best + 0.1))


def level_for(asked, decibels):
    """The level that is found where each has the PSNR of a list."""
    tried = Levels(len(decibels), 1).spread(8)
    return quality._lowest_with(lambda level: level, tried, asked, lambda level: 255**2 / 10 ** (decibels[level] / 10))


@pytest.mark.parametrize("count", [2, 3, 12, 64])
def test_the_lowest_level_that_is_good_enough_is_found(count):
    """Whatever the quality between those of the first and the last level."""
    decibels = [20 + 0.3 * level for level in range(count)]

    for level, has in enumerate(decibels):
        assert level_for(has - 0.0001, decibels) == level_for(has - 0.2, decibels) == level
    with pytest.raises(UserError, match="expected at least"):
        level_for(decibels[-1] + 0.01, decibels)


@pytest.mark.parametrize("best", [0, 9, 36, 63])
def test_where_a_lower_level_is_better_it_is_found(best):
    """As of flat and drawn pictures; what is refused is more than any of those that were tried has."""
    decibels = [36 - 0.1 * abs(level - best) for level in range(64)]
    for asked in (decibels[-1], 35.85, 35.999):
        found = level_for(asked, decibels)
        assert decibels[found] >= asked and (found == 0 or decibels[found - 1] < asked)
    with pytest.raises(UserError, match=r"of the 8 levels tried the best picture has 3(6.00|5.99) dB; expected at least 36.01"):
        level_for(36.01, decibels)


def test_the_analysis_runs_once(bundle, monkeypatch):
    calls = []
    analyse = coding.analyse
    monkeypatch.setattr(coding, "analyse", lambda *arguments: calls.append(1) or analyse(*arguments))
    monkeypatch.setattr(quality, "reconstruct", None)  # sizes need no synthesis
    images = torch.stack([IMAGE, picture(90, 120, 1)])
    most = len(encode(bundle, IMAGE, level=COUNT // 2).file) + 200
    begun = begin_wanted(bundle, images, None, Wanted(max_bytes=most))
    assert calls == [1, 1] and [len(encoded.file) <= most for encoded in begun()] == [True, True]


def test_memory_that_does_not_hold_what_a_psnr_takes_is_refused_before_the_analysis(bundle, monkeypatch):
    """Which is kept meanwhile; with as much as the plain file takes, and with what the line says."""
    image = picture(200, 70)
    high, wide = (side * bundle.model.latent_stride for side in bundle.model.latent_size(200, 70))
    least, y = bundle.needs.least(1, high, wide), analysed(bundle, image[None]).y.nbytes
    plain, enough = (replace(bundle, memory=Memory(limit, 0, asked=True)) for limit in (least + y - 1, least + y))
    file = encode_wanted(enough, image, None, Wanted(psnr=0.1)).file
    assert len(file) == len(encode(bundle, image, level=0).file) and encode_wanted(plain, image).file
    monkeypatch.setattr(quality, "analysed", None)
    with pytest.raises(UserError, match="a picture of 70x200 takes .* at least, and .* allowed"):
        encode_wanted(plain, image, None, Wanted(psnr=0.1))


def test_in_python(bundle, files):
    ours = PictureCodec(bundle)
    assert ours.compress(IMAGE, quality=100) == files[-1] and ours.compress(IMAGE) == files[COUNT // 2]
    assert len(ours.compress(IMAGE, max_bytes=len(files[3]))) == len(files[3])
    assert read_container(ours.compress(IMAGE, bpp=100)).level == COUNT - 1
    assert ours.decompress(ours.compress(IMAGE, psnr=0.1)).size == (120, 90)
    low, high = (ours.analyse(IMAGE, level=level) for level in (0, 11))
    assert low.bits["y"].sum() < high.bits["y"].sum() and low.means["y"].equal(high.means["y"])
    assert low.values["y"].shape == low.scales["y"].shape == low.y.shape
    with pytest.raises(UserError, match="quality and bpp given"):
        ours.compress(IMAGE, quality=3, bpp=0.1)


@pytest.mark.parametrize(
    "wanted, words",
    [
        (Wanted(quality=101), "expected a number from 0 to 100"), (Wanted(quality=-1), "expected a number from 0 to 100"),
        (Wanted(quality=math.nan), "expected a number from 0"), (Wanted(bpp=0), "above 0"), (Wanted(psnr=math.inf), "above 0"),
        (Wanted(max_bytes=-3), "above 0"), (Wanted(3, 4), "quality and bpp given"),
        (Wanted(psnr=5000), "expected at least 5000"), (Wanted(psnr=10**400), "psnr=inf; expected"),
        (Wanted(bpp=10**5000), "bpp=inf; expected"), (Wanted("90"), "quality='90'; expected"),
        (Wanted(quality=True), "quality=True; expected"), (Wanted(max_bytes=True), "max_bytes=True; expected"),
        (Wanted(psnr=Fraction(90)), "expected at least 90"),
        (Wanted(bpp="a\nb"), r"bpp='a\\nb'; expected"), (Wanted(max_bytes=-(10**5000)), "max_bytes=-inf; expected"),
    ],
)  # fmt: skip
def test_wishes_that_nothing_meets_are_one_line(bundle, wanted, words):
    with pytest.raises(UserError, match=words) as raised:
        encode_wanted(bundle, IMAGE, None, wanted)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("wanted", [Wanted(bpp=1e308), Wanted(bpp=1e300), Wanted(max_bytes=10**300)])
def test_what_any_file_meets_is_the_highest_level(bundle, files, wanted):
    assert encode_wanted(bundle, IMAGE, None, wanted).file == files[-1]


def test_a_codec_of_one_rate_has_no_choice(tmp_path):
    save_bundle(tmp_path / "b", live_model("hyperprior"), {}, half=True)
    with pytest.raises(UserError, match="quality=50 of a codec that has one rate"):
        codec.load(tmp_path / "b").compress(IMAGE, quality=50)
