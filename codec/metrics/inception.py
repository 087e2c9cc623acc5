"""The feature network of FID and KID: Inception as torch-fidelity has it, or a TorchScript file."""

import io
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from codec.metrics.distribution import FeatureNetwork
from codec.metrics.downloads import published_weights, weights_at
from codec.types import UserError

REMEDY = "set perceptual.features"


def load_feature_network(source: str) -> FeatureNetwork:
    """A function from patches, uint8 [n, 3, 256, 256], to features [n, d], on the accelerator where there is one.

    source: `inception`, whose 2048 features of the file that torch-fidelity publishes are those of the papers (downloaded
    once); the path of that file; or the path of a TorchScript module that is such a function. TorchScript is a program, and
    runs: take it from nobody whom you would not trust with your machine.
    Raises UnavailableError where Inception cannot be had, UserError for a path that holds neither.
    """
    module = _inception(None) if source == "inception" else _module_at(Path(source))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    module = module.to(device).eval()

    def features(patches: Tensor) -> Tensor:
        output = module(patches.to(device))
        output = output[0] if isinstance(output, tuple) else output
        if output.ndim != 2 or len(output) != len(patches):
            raise UserError(
                f"{source} makes {list(output.shape)} of {len(patches)} patches; expected [{len(patches)}, features]; "
                f"{REMEDY} to a module that averages over places"
            )
        return output

    return features


def _module_at(path: Path) -> nn.Module:
    if not path.is_file():
        raise UserError(
            f"no feature network at {path}; expected inception, torch-fidelity's file or a TorchScript file; {REMEDY}"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch.export has no file that another project could publish
            return torch.jit.load(path, map_location="cpu")
    except RuntimeError:  # no TorchScript
        return _inception(path)


def _inception(path: Path | None) -> nn.Module:
    """torch-fidelity's network; path: of its weights, or None for the published ones."""
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3

    if path is None:
        weights = published_weights(URL_INCEPTION_V3, "FID", f"{REMEDY} to its path")
    else:
        weights = weights_at(path, "FID", REMEDY)
    # torch-fidelity unpickles whatever a file holds: it is given tensors alone, in a file of our own.
    own = io.BytesIO()
    torch.save(weights, own)
    own.seek(0)
    try:
        return FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=own)
    except RuntimeError:
        raise UserError(
            f"{path} holds other weights than torch-fidelity's Inception; expected {Path(URL_INCEPTION_V3).name}; {REMEDY}"
        ) from None
