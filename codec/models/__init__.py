"""The codecs by the names that configs and bundles use."""

import inspect

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


def build_model(name: str, **arguments: int) -> Codec:
    """A fresh network of that name.

    Raises UserError for a name or arguments that no model here has.
    """
    if name not in MODELS:
        raise UserError(f"unknown model '{name}'; expected one of {', '.join(MODELS)}; see conf/model")
    parameters = inspect.signature(MODELS[name]).parameters
    for key, value in arguments.items():
        option = key in parameters and parameters[key].annotation is bool
        if option and not isinstance(value, bool):
            raise UserError(f"model argument {key}={value}; expected true or false; set model.{key}")
        if not option and (type(value) is not int or not 1 <= value <= 4096):
            raise UserError(f"model argument {key}={value}; expected an integer from 1 to 4096; set model.{key}")
    try:
        return MODELS[name](**arguments)
    except TypeError as error:
        raise UserError(
            f"model {name} does not take {arguments} ({error}); expected the keys of conf/model/{name}.yaml; set those"
        ) from None


def model_name(model: Codec) -> str:
    """The name under which build_model finds the class of `model`."""
    return next(name for name, kind in MODELS.items() if type(model) is kind)
