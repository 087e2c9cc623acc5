"""The codecs by the names that configs and bundles use."""

import importlib
import pkgutil

from codec.models.arguments import checked_arguments, checked_levels
from codec.models.base import Codec
from codec.types import UserError, shown


def _in_this_folder() -> dict[str, type[Codec]]:
    """The codecs of all files here that have a name of their own."""
    found: dict[str, type[Codec]] = {}
    for file in pkgutil.iter_modules(__path__):
        for kind in vars(importlib.import_module(f"{__name__}.{file.name}")).values():
            if isinstance(kind, type) and issubclass(kind, Codec) and "name" in vars(kind):
                same = found.setdefault(kind.name, kind)
                assert same is kind, f"two codecs called {kind.name}: {same} and {kind}"
    return found


# A bundle names its network out of this table and nothing else: opening one runs no code of the file's.
MODELS = _in_this_folder()


def build_model(name: str, /, **arguments: object) -> Codec:
    """A fresh network of that name.

    arguments: those of its constructor, whose annotations say of what kind each is: int, float, bool or str; and `levels`, of
    any model, how many rates it has where it has several.
    Raises UserError for a name that MODELS does not have, and for arguments that make no network.
    """
    if name not in MODELS:
        raise UserError(f"unknown model {shown(name)}; expected one of {', '.join(MODELS)}; see conf/model")
    levels = checked_levels(arguments.pop("levels")) if "levels" in arguments else None
    checked = checked_arguments(name, MODELS[name], arguments)
    try:
        model = MODELS[name](**checked)
        if levels is not None:
            model.add_levels(levels)
    except UserError:
        raise
    except (ArithmeticError, AssertionError, RuntimeError, ValueError) as error:  # what layers have against their widths
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"no {name} can be built of {shown(checked, 200)} ({reason}); expected other values; see conf/model"
        ) from error
    if not all(parameter.numel() for parameter in model.parameters()):
        raise UserError(
            f"no {name} can be built of {shown(checked, 200)}: a layer has no weights; expected larger values; see conf/model"
        )
    return model


def model_name(model: Codec) -> str:
    """The name under which build_model finds the class of `model`."""
    return next(name for name, kind in MODELS.items() if type(model) is kind)
