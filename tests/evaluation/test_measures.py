"""The measures that are asked for: what they give, what they say they were measured with, what is missing and why."""

import sys
import warnings

import pytest
import scipy.io
import torch
from conftest import picture
from torch import nn

import codec.download
from codec.evaluation.measures import Measures
from codec.evaluation.results import ImageRow
from codec.metrics.inception import load_feature_network
from codec.metrics.perceptual import MIN_LPIPS_SIDE, Lpips
from codec.types import UnavailableError, UserError
from data.testsets import TestImage

RANDOM = {"net": "squeeze", "weights": "random"}


class Colours(nn.Module):
    """[n, 3, 256, 256] -> [n, 6]: as a file, a feature network of the tests' own."""

    def forward(self, patches):
        values = patches.double()
        return torch.cat((values.mean((2, 3)), values.std((2, 3))), dim=1)


@pytest.fixture(scope="module")
def features(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("features") / "colours.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.script(Colours()).save(path)
    return str(path)


def test_nothing_asked_is_nothing_loaded():
    measures = Measures()
    assert measures.of_picture(picture(64, 64), picture(64, 64)) == {} and measures.patch_features() is None
    assert measures.of_set(None) == measures.measured_with == measures.not_computed == {}


def test_a_wrong_name_is_refused():
    with pytest.raises(UserError, match="unknown measure 'dists'; expected some of lpips, fid, kid, niqe"):
        Measures(["lpips", "dists"], lpips=RANDOM)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory.\nTried"), OSError("gone")])
def test_a_measure_that_fails_for_a_picture_costs_that_figure_alone(error):
    measures = Measures(["lpips"], lpips=RANDOM)

    def fail(*_):
        raise error

    measures._lpips = fail
    assert measures.of_picture(picture(64, 64), picture(64, 64)) == {"lpips": None}
    row = ImageRow("a", 64, 64, 1.0, 30.0, ms_ssim=0.9, lpips=None)
    reason = measures.missing([row], {})["lpips"]
    assert reason.startswith("failed for some pictures: ") and "\n" not in reason and str(error).split("\n")[0] in reason


def test_lpips_of_pictures_says_its_features():
    measures = Measures(["lpips"], lpips=RANDOM)
    assert measures.measured_with == {"lpips": "lpips_squeeze_random"}
    a, b = picture(70, 90), picture(70, 90, 1)
    assert measures.of_picture(a, a)["lpips"] == 0
    expected = Lpips("squeeze", "random")(a[None] / 255, b[None] / 255)
    assert measures.of_picture(a, b)["lpips"] == pytest.approx(float(expected), rel=1e-6)
    assert measures.of_picture(a[:, :31], b[:, :31]) == {"lpips": None}


@pytest.mark.parametrize("net", ["alex", "vgg", "squeeze"])
def test_every_network_takes_the_smallest_picture(net):
    side = MIN_LPIPS_SIDE
    assert Measures(["lpips"], lpips=RANDOM | {"net": net}).of_picture(picture(side, side), picture(side, side, 1))["lpips"] > 0


def test_fid_and_kid_of_a_set_by_a_torchscript_file(features):
    measures = Measures(["fid", "kid"], features=features, small_sets=True)
    assert measures.measured_with == {"fid": features, "kid": features}
    same, other = measures.patch_features(), measures.patch_features()
    for seed in range(3):
        image = picture(512, 530, seed)
        same.add(image, image)
        other.add(255 - image, image)
    assert measures.of_set(same)["num_patches"] == 15
    assert measures.of_set(same)["fid"] == pytest.approx(0, abs=1e-6)
    assert measures.of_set(other)["fid"] > 1 and measures.of_set(other)["kid"] > 0
    assert set(Measures(["kid"], features=features).of_set(other)) == {"num_patches", "kid"}


def test_small_sets_are_refused_unless_asked(features):
    pictures = [TestImage(str(seed), lambda: picture(512, 512)) for seed in range(2)]
    with pytest.raises(UserError, match="fid of two, whose pictures hold 10 patches.*least 2048.*small_sets=true") as error:
        Measures(["fid"], features=features).check_size(pictures, "two")
    assert "\n" not in str(error.value)
    Measures(["fid"], features=features, small_sets=True).check_size(pictures, "two")
    Measures(["lpips"], lpips=RANDOM).check_size(pictures, "two")
    measures = Measures(["kid"], features=features, small_sets=True)
    patches = measures.patch_features()
    patches.add(picture(300, 300), picture(300, 300))
    assert measures.of_set(patches) == {} and "fewer than two patches" in measures.missing([], {})["kid"]


def test_networks_that_cannot_be_had_are_reasons_and_wrong_files_are_mistakes(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))

    def no_network(url, *args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(codec.download, "urlopen", no_network)
    measures = Measures(["lpips", "fid", "kid"])
    assert set(measures.not_computed) == {"lpips", "fid", "kid"} and measures.measured_with == {}
    assert "weights-inception-2015-12-05-6726825d.pth" in measures.not_computed["fid"]
    assert "alexnet" in measures.not_computed["lpips"]
    measures.check_size([], "none")
    assert measures.missing([], {}) == measures.not_computed
    torch.save({"fc.bias": torch.zeros(3)}, tmp_path / "other.pth")
    (tmp_path / "text.pt").write_text("no network")
    for path, words in (("nowhere.pt", "no feature network"), ("text.pt", "cannot be read"), ("other.pth", "other weights")):
        with pytest.raises(UserError, match=words) as error:
            Measures(["fid"], features=str(tmp_path / path))
        assert not isinstance(error.value, UnavailableError) and "set perceptual.features" in str(error.value)


def test_a_network_that_keeps_places_is_refused(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.script(nn.Identity()).save(tmp_path / "same.pt")
    with pytest.raises(UserError, match=r"expected \[1, features\]"):
        load_feature_network(str(tmp_path / "same.pt"))(picture(256, 256)[None])


def test_torch_fidelitys_file(tmp_path, monkeypatch):
    """Its network with the weights of a file that has its names, here random ones."""
    inception = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    torch.save({}, tmp_path / "empty.pth")
    torch.manual_seed(0)
    with monkeypatch.context() as patch:
        patch.setattr(inception.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        theirs = inception.FeatureExtractorInceptionV3("x", ["2048"], str(tmp_path / "empty.pth"))
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    patches = torch.stack([picture(256, 256, seed) for seed in range(2)])
    ours = load_feature_network(str(tmp_path / "weights.pth"))(patches)
    assert ours.shape == (2, 2048) and torch.equal(ours, theirs(patches)[0])


def test_niqe_by_pyiqa(tmp_path):
    pytest.importorskip("pyiqa")
    path = tmp_path / "niqe.mat"  # of the right shape; with the published figures it would be NIQE
    scipy.io.savemat(path, {"mu_prisparam": torch.zeros(1, 36).numpy(), "cov_prisparam": torch.eye(36).double().numpy()})
    measures = Measures(["niqe"], niqe_parameters=str(path))
    assert measures.measured_with == {"niqe": "pyiqa"}
    image = picture(200, 300)
    assert measures.of_picture(image, image)["niqe"] > 0
    assert measures.of_picture(image[:, :100], image[:, :100]) == {"niqe": None}
    assert measures.of_picture(torch.zeros_like(image), image)["niqe"] is None  # no statistics in black
    scipy.io.savemat(path, {"other": 1})
    for wrong in (path, tmp_path / "nowhere.mat"):
        with pytest.raises(UserError, match="no parameters of NIQE"):
            Measures(["niqe"], niqe_parameters=str(wrong))


def test_niqe_without_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    assert "codec[niqe]" in Measures(["niqe"]).not_computed["niqe"]
