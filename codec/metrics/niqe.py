"""NIQE, the distance of a picture's statistics from those of photographs (Mittal et al. 2013), by the package pyiqa."""

import logging
import math
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor

from codec.types import UnavailableError, UserError

MIN_NIQE_SIDE = 192  # two blocks of 96 pixels: their features have a covariance


def load_niqe(parameters: str | None) -> Callable[[Tensor], float | None]:
    """NIQE of a picture, uint8 [3, H, W]; None where it has too little in it for a covariance.

    parameters: the path of niqe_modelparameters.mat, or None for pyiqa's, downloaded once.
    Raises UnavailableError without the package or the file, UserError for a path that holds none.
    """
    try:
        import pyiqa
    except ImportError as error:
        raise UnavailableError(f"NIQE needs pyiqa ({error}); expected the extra niqe; pip install 'codec[niqe]'") from None
    logging.getLogger("pyiqa").setLevel(logging.WARNING)
    given = {} if parameters is None else {"pretrained_model_path": parameters}
    try:
        metric = pyiqa.create_metric("niqe", device="cpu", **given)
    except (OSError, URLError, ValueError, KeyError, NotImplementedError) as error:
        said = " ".join(str(error).split())
        if parameters is None:
            raise UnavailableError(
                f"NIQE needs niqe_modelparameters.mat, which pyiqa cannot download ({said}); expected a network or the file; "
                "set perceptual.niqe_parameters to its path"
            ) from None
        raise UserError(
            f"no parameters of NIQE at {Path(parameters)} ({said}); expected niqe_modelparameters.mat; "
            "set perceptual.niqe_parameters"
        ) from None

    @torch.inference_mode()
    def niqe(image: Tensor) -> float | None:
        try:
            value = float(metric(image[None] / 255))
        except torch.linalg.LinAlgError:  # flat blocks have no statistics
            return None
        return value if math.isfinite(value) else None

    return niqe
