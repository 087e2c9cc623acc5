"""The codecs by the names that configs and bundles use."""

from codec.models.arguments import checked_arguments
from codec.models.base import Codec
from codec.models.hific import HiFiC
from codec.models.hyperprior import FactorizedPrior, MeanScaleHyperprior, ScaleHyperprior
from codec.models.segpic import SegPIC
from codec.models.wacnn import WACNN
from codec.types import UserError

# A bundle names its network out of this table and nothing else: opening one runs no code of the file's.
MODELS: dict[str, type[Codec]] = {
    "factorized": FactorizedPrior,
    "hyperprior": ScaleHyperprior,
    "mean_scale": MeanScaleHyperprior,
    "wacnn": WACNN,
    "segpic": SegPIC,
    "hific": HiFiC,
}


def build_model(name: str, /, **arguments: object) -> Codec:
    """A fresh network of that name.

    arguments: those of its constructor, whose annotations say of what kind each is: int, float, bool or str.
    Raises UserError for a name that MODELS does not have, and for arguments that make no network.
    """
    if name not in MODELS:
        raise UserError(f"unknown model '{name}'; expected one of {', '.join(MODELS)}; see conf/model")
    checked = checked_arguments(name, MODELS[name], arguments)
    try:
        model = MODELS[name](**checked)
    except UserError:
        raise
    except (ArithmeticError, AssertionError, RuntimeError, ValueError) as error:  # what layers have against their widths
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"no {name} can be built of {checked} ({reason}); expected other values; see conf/model") from error
    if not all(parameter.numel() for parameter in model.parameters()):
        raise UserError(f"no {name} can be built of {checked}: a layer has no weights; expected larger values; see conf/model")
    return model


def model_name(model: Codec) -> str:
    """The name under which build_model finds the class of `model`."""
    return next(name for name, kind in MODELS.items() if type(model) is kind)
