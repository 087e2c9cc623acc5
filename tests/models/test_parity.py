"""The three models against CompressAI's own: same weights, same pictures, same answers."""

import compressai.models
import pytest
import torch
from conftest import MODEL_NAMES, live_codec, picture

from codec.cli import main
from codec.files.bundle import load_bundle
from codec.files.coding import encode
from codec.files.published import canonical_names, compressai_codec

THEIRS = {
    "factorized": compressai.models.FactorizedPrior,
    "hyperprior": compressai.models.ScaleHyperprior,
    "mean_scale": compressai.models.MeanScaleHyperprior,
}
SIZES = [(64, 64), (128, 192), (256, 320)]


def as_theirs(name, codec):
    """CompressAI's model with the weights of ours, its tables built."""
    theirs = THEIRS[name](**codec.arguments).eval()
    theirs.load_state_dict(theirs.state_dict() | dict(codec.named_parameters()))
    theirs.update(force=True)
    return theirs


def their_bits(theirs, x):
    """-log2 likelihood by stream in float64: their fp32 difference of sigmoids collapses in the right tail."""
    with torch.no_grad():
        likelihoods = theirs.double()(x.double())["likelihoods"]
    theirs.float()
    return {name: float(-torch.log2(p).sum()) for name, p in likelihoods.items()}


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_reconstruction_rate_and_payload_agree(name, tmp_path):
    codec = live_codec(name, fitting=True)
    theirs = as_theirs(name, codec)
    # As a checkpoint of theirs: tables inside, DataParallel's prefix, densities in the older spelling.
    state = {}
    for key, value in theirs.state_dict().items():
        for old, new in (("_matrix", "matrices."), ("_bias", "biases."), ("_factor", "factors.")):
            key = key.replace("entropy_bottleneck." + new, "entropy_bottleneck." + old)
        state["module." + key] = value
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "theirs.pth.tar")
    assert main(["import", "compressai", str(tmp_path / "theirs.pth.tar"), "--out", str(tmp_path / "b.safetensors")]) == 0
    bundle = load_bundle(tmp_path / "b.safetensors")
    imported = compressai_codec(
        canonical_names(torch.load(tmp_path / "theirs.pth.tar", weights_only=True)["state_dict"])
    ).eval()

    reconstructions = []
    for seed, (height, width) in enumerate(SIZES):
        image = picture(height, width, seed)
        x = image[None].float() / 255
        with torch.no_grad():
            ours = imported(x)
            expected = theirs(x)
            assert (theirs.g_a(x).abs() >= 0.5).float().mean() > 0.1  # else nothing is tested
        torch.testing.assert_close(ours.x_hat, expected["x_hat"], rtol=0, atol=1e-5)
        bits = {stream: float(-torch.log2(p.double()).sum()) for stream, p in ours.likelihoods.items()}
        assert bits == pytest.approx(their_bits(theirs, x), rel=1e-4)
        payload = encode(bundle, image).payload_bytes
        their_payload = sum(len(string[0]) for string in theirs.compress(x)["strings"])
        # Two strings of theirs each carry the state of their coder, 8 bytes and what 32-bit words round up to.
        assert payload == pytest.approx(their_payload, rel=0.005, abs=24)
        reconstructions.append(ours.x_hat[..., :64, :64])
    assert not torch.equal(reconstructions[0], reconstructions[1])


def test_something_else_is_refused(tmp_path, capsys):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    (tmp_path / "noise.pth").write_bytes(b"no checkpoint")
    for name in ("other.pth", "noise.pth", "missing.pth"):
        assert main(["import", "compressai", str(tmp_path / name), "--out", str(tmp_path / "b.safetensors")]) == 2
        error = capsys.readouterr().err
        assert error.startswith("codec: ") and error.count("\n") == 1
