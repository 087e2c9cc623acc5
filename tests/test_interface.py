"""`import codec`: what a program gives to a codec and what it gets."""

import re
import subprocess
import sys
import warnings
from fractions import Fraction

import numpy as np
import pytest
import torch
from conftest import ALL_NAMES, REPOSITORY, live_levels, one_thread, picture
from PIL import Image

import codec
from codec.entropy.noise import uniform_noise
from codec.files.bundle import load_bundle, save_bundle
from codec.files.coding import decode, encode, estimated_bits
from codec.interface import as_quality_map
from codec.types import UserError

pytestmark = pytest.mark.usefixtures("on_one_thread")


def test_a_picture_in_any_form_gives_the_file_that_the_command_writes(live_bundles):
    c, image = codec.load(live_bundles["mean_scale"]), picture(70, 90)
    file = encode(load_bundle(live_bundles["mean_scale"]), image).file
    pixels = image.permute(1, 2, 0).numpy()
    for given in (image, pixels, pixels[:, ::-1][:, ::-1], Image.fromarray(pixels)):
        assert c.compress(given) == file
    assert np.array_equal(np.array(c.decompress(file)), decode(c.bundle, file).permute(1, 2, 0).numpy())
    grey = Image.fromarray(pixels).convert("L")
    assert c.compress(grey) == c.compress(grey.convert("RGB"))


def test_the_shipped_codec_needs_no_path():
    c = codec.load()
    again = c.decompress(c.compress(picture(40, 60)))
    assert again.size == (60, 40) and "mean_scale" in repr(c)


@pytest.mark.parametrize(
    "given",
    ["a.png", 3, None, np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), torch.rand(3, 4, 4),
     torch.zeros(1, 3, 4, 4, dtype=torch.uint8), torch.zeros(3, 0, 4, dtype=torch.uint8),
     torch.zeros(3, 4, 4, dtype=torch.uint8).to_sparse(), torch.zeros(3, 4, 4, dtype=torch.uint8, device="meta")],
)  # fmt: skip
def test_what_is_no_picture_is_refused(live_bundles, given):
    c = codec.load(live_bundles["factorized"])
    with pytest.raises(UserError, match="expected") as raised:
        c.compress(given)
    assert "\n" not in str(raised.value) and isinstance(raised.value, ValueError)
    with pytest.raises(UserError, match="picture"):
        c.analyse(given)


def test_arrays_that_nobody_may_write_to_are_pictures_without_a_warning(live_bundles):
    """As numpy makes of PIL's pictures."""
    c, image = codec.load(live_bundles["mean_scale"]), picture(70, 90)
    pixels = np.asarray(Image.fromarray(image.permute(1, 2, 0).numpy()))
    assert not pixels.flags.writeable
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert c.compress(pixels) == c.compress(image)
        given = np.asarray(Image.fromarray(pixels[..., 0]))
        assert as_quality_map(given).equal(torch.tensor(given))


@pytest.fixture(scope="module")
def levelled(tmp_path_factory):
    path = tmp_path_factory.mktemp("levels") / "codec.safetensors"
    with one_thread():
        save_bundle(path, live_levels("mean_scale", 3), {}, half=True)
    return codec.load(path)


def test_a_level_is_any_whole_number_and_nothing_else(levelled):
    image = picture(70, 90)
    assert levelled.analyse(image, level=np.int64(1)).y.equal(levelled.analyse(image, level=1).y)
    for level in (5.5, True, "1", 3, -1):
        with pytest.raises(UserError, match="level") as raised:
            levelled.analyse(image, level=level)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("levels", [[3], [-1], [0, 3]])
def test_levels_of_a_batch_are_those_of_the_codec(levelled, levels):
    x = torch.stack([picture(64, 64)] * len(levels)) / 255
    with pytest.raises(UserError, match=f"level {levels[-1]} of a codec that has levels 0 to 2"):
        levelled.model(x, uniform_noise, levels=torch.tensor(levels))


@pytest.mark.parametrize("grid", ["4x4", [2], (2.5, 2), 4, (2, True), (1, 2, 3), (0, 2)])
def test_what_is_no_grid_is_refused(live_bundles, grid):
    c = codec.load(live_bundles["segpic"])
    for use in (c.compress, c.analyse):
        with pytest.raises(UserError, match="grid") as raised:
            use(picture(70, 90), grid)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("broken", ["cut", "closed"])
def test_a_picture_whose_file_cannot_be_read_any_more_is_refused(levelled, broken, tmp_path):
    """Opened, its pixels are read later; as a map, too."""

    def opened(mode):
        path = tmp_path / f"{mode}.jpg"
        Image.fromarray(picture(200, 200).permute(1, 2, 0).numpy()).convert(mode).save(path)
        if broken == "cut":
            path.write_bytes(path.read_bytes()[:1500])
        image = Image.open(path)
        if broken == "closed":
            image.close()
        return image

    for name, words in (("picture", {"picture": opened("RGB")}), ("map", {"picture": picture(200, 200), "roi": opened("L")})):
        with pytest.raises(UserError, match=f"the {name} cannot be read: ") as raised:
            levelled.compress(**words)
        assert "\n" not in str(raised.value)


def test_an_offset_is_that_of_a_map(levelled):
    for offset in (3, np.array([30.0, 40.0])):
        with pytest.raises(UserError, match="roi_offset=.* without roi"):
            levelled.compress(picture(70, 90), roi_offset=offset)
    half = torch.arange(90).expand(70, 90) < 40
    assert levelled.compress(picture(70, 90), roi=half, roi_offset=Fraction(60)) == levelled.compress(
        picture(70, 90), roi=half, roi_offset=60
    )
    with pytest.raises(UserError, match="an offset of quality of True; expected"):
        levelled.compress(picture(70, 90), roi=half, roi_offset=True)


@pytest.mark.parametrize(
    "given",
    [[[1, 2], [3]], torch.zeros(70, 90, dtype=torch.bfloat16), torch.zeros(70, 90, requires_grad=True), "map.png",
     torch.zeros(70, 90, dtype=torch.uint8).to_sparse(), torch.zeros(70, 90, dtype=torch.bool, device="meta"),
     Image.new("L", (0, 5)), np.zeros((70, 90, 3), np.uint8)],
    ids=["list", "bfloat16", "gradient", "text", "sparse", "meta", "empty", "colours"],
)  # fmt: skip
def test_what_is_no_map_is_refused(levelled, given):
    with pytest.raises(UserError, match="expected") as raised:
        levelled.compress(picture(70, 90), roi=given)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("given", ["text", None, b"", b"no file"])
def test_what_is_no_file_is_refused(live_bundles, given):
    with pytest.raises(UserError, match="expected"):
        codec.load(live_bundles["factorized"]).decompress(given)


@pytest.mark.parametrize("name", ALL_NAMES)
def test_an_analysis_is_what_coding_does(live_bundles, name):
    c, image = codec.load(live_bundles[name]), picture(70, 90)
    encoded, found = encode(c.bundle, image), c.analyse(image)
    assert found.values["y"].shape == encoded.latents.y_hat[0].shape
    assert sum(float(bits.sum()) for bits in found.bits.values()) == pytest.approx(estimated_bits(c.bundle, encoded), rel=1e-5)
    assert found.reconstruction.equal(decode(c.bundle, encoded.file))
    assert found.bits.keys() == encoded.bits_by_stream.keys() == found.values.keys()
    for stream, scales in found.scales.items():
        assert scales.shape == found.values[stream].shape and found.bits[stream].shape == scales.shape[1:]
        if stream in found.means:
            residuals = found.values[stream] - found.means[stream]
            if name not in ("wacnn", "segpic"):  # whose y_hat is noted before the residual is added
                assert torch.allclose(residuals, residuals.round(), atol=1e-3)


def test_its_model_trains_and_is_saved_again(live_bundles, tmp_path):
    c = codec.load(live_bundles["hyperprior"])
    model, x = c.model, picture(64, 64)[None] / 255
    assert c.model is model and c.model is not c.bundle.model
    out = model(x, uniform_noise)
    (out.x_hat - x).square().mean().backward()
    with torch.no_grad():
        for parameter in model.g_s.parameters():
            parameter -= 0.01 * parameter.grad
    codec.save(model, tmp_path / "mine.safetensors", note="mine")
    mine = codec.load(str(tmp_path / "mine.safetensors"))
    assert mine.bundle.header["facts"] == {"note": "mine"} and mine.bundle.fingerprint != c.bundle.fingerprint
    assert mine.decompress(mine.compress(picture(40, 60))).size == (60, 40)
    with pytest.raises(UserError, match="expected a network of codec.models"):
        codec.save(torch.nn.Linear(1, 1), tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="is a folder; expected the path of a file"):
        codec.save(model, tmp_path)


def test_a_device_that_is_not_there_is_named(live_bundles):
    for device, complaint in (("tpu", "expected one of cpu, cuda, mps, auto"), ("cuda", "does not find here")):
        if device == "cuda" and torch.cuda.is_available():
            continue
        with pytest.raises(UserError, match=complaint):
            codec.load(live_bundles["factorized"], device=device)
    assert codec.load(live_bundles["factorized"], device="auto").bundle.device.type in ("cpu", "cuda", "mps")


def test_importing_it_costs_nothing():
    code = "import sys; before = set(sys.modules); import codec; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY)
    imported = {name.partition(".")[0] for name in eval(done.stdout)} - sys.stdlib_module_names  # noqa: S307
    assert imported <= {"codec"}, done.stderr


def test_the_lines_of_the_readme_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(picture(64, 64).permute(1, 2, 0).numpy()).save("photo.png")
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    names = {"batches": [picture(64, 64)[None] / 255]}
    for block in blocks:
        exec(block, names)  # noqa: S102
    assert Image.open("again.png").size == (64, 64)
    assert codec.load("mine.safetensors").bundle.header["model"] == "mean_scale"
