"""LPIPS through the adapter: the real one on photographs, its range, its names, its errors."""

import lpips
import pytest
import torch
from conftest import picture
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

import codec.download
from codec.metrics.perceptual import Lpips
from codec.types import UserError


def test_real_lpips_of_photographs(shared):
    """The two values of the shared folder's README, of the lpips package with inputs in [-1, 1]."""
    measure = Lpips("squeeze", str(shared / "weights" / "squeezenet1_1_features.pth"))
    assert measure.name == "lpips_squeeze"
    first, second = (pil_to_tensor(Image.open(shared / "images" / "kodak" / f"kodim0{i}.png"))[None] / 255 for i in (1, 2))
    assert float(measure(first, second)) == pytest.approx(0.66767, abs=1e-4)
    assert float(measure(first, first.flip(-1))) == pytest.approx(0.40335, abs=1e-4)


@pytest.mark.parametrize("net", ["alex", "squeeze"])
def test_it_equals_the_package_and_takes_unit_range(net):
    measure = Lpips(net, "random")
    x, x_hat = picture(96, 64)[None] / 255, picture(96, 64, 1)[None] / 255
    expected = measure._network(2 * x_hat - 1, 2 * x - 1).mean()
    assert float(measure(x_hat, x)) == pytest.approx(float(expected), rel=1e-4)
    assert isinstance(measure._network, lpips.LPIPS) and measure.name == f"lpips_{net}_random"
    # The same random features in every run, whatever the generator's state.
    torch.manual_seed(5)
    assert float(Lpips(net, "random")(x_hat, x)) == float(measure(x_hat, x))


def test_the_gradient_is_finite_where_features_vanish():
    """Black pictures: with the package's own length of features the gradient there is 0/0."""
    measure = Lpips("squeeze", "random")
    for parameter in measure._network.net.parameters():
        if parameter.ndim == 1:
            parameter.data.fill_(-10.0)  # no feature lives
    x_hat = torch.zeros(1, 3, 64, 64, requires_grad=True)
    measure(x_hat, torch.rand(1, 3, 64, 64)).backward()
    assert torch.isfinite(x_hat.grad).all()


def test_originals_beyond_the_range_and_reconstructions_within_their_rights():
    measure = Lpips("alex", "random")
    x = picture(64, 64)[None] / 255
    measure(3 * x - 1, x)  # a reconstruction is not clamped in training
    for wrong in (2 * x - 1, 255 * x):
        with pytest.raises(UserError, match=r"expected \[0, 1\]"):
            measure(x, wrong)


def test_weights_that_are_not_to_be_had(tmp_path, monkeypatch):
    def no_network(url, *args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(codec.download, "urlopen", no_network)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(UserError) as error:
        Lpips("alex")
    for part in ("alexnet-owt-7be5be79.pth", "https://download.pytorch.org/models/", str(tmp_path / "checkpoints"), "random"):
        assert part in str(error.value)
    assert "\n" not in str(error.value)
    torch.save({"0.weight": torch.zeros(3)}, tmp_path / "other.pth")
    (tmp_path / "noise.pth").write_bytes(b"no weights")
    for name, words in (("other.pth", "no fitting 0.weight"), ("noise.pth", "cannot be read"), ("missing.pth", "no file at")):
        with pytest.raises(UserError, match=words):
            Lpips("squeeze", str(tmp_path / name))
    with pytest.raises(UserError, match="expected one of alex"):
        Lpips("resnet")
