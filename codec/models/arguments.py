"""The arguments of a network, as a configuration or a bundle names them, held against its constructor's annotations."""

import inspect
import math
from collections.abc import Callable, Mapping

from codec.models.base import Argument, Codec
from codec.types import UserError, shown

LARGEST = 1 << 16  # whole number: no network here has more of anything, and a loop over it ends soon

EXPECTED: dict[type, str] = {
    int: f"a whole number from {-LARGEST} to {LARGEST}",
    float: "a finite number",
    bool: "true or false",
    str: "a word",
}


def _as(kind: type, value: object) -> Argument | None:
    """The value as one of that kind; None where it is none."""
    if kind in (int, float) and type(value) is int:
        return kind(value) if abs(value) <= LARGEST else None
    if kind is float and type(value) is float:
        return value if math.isfinite(value) else None
    return value if type(value) is kind else None  # type: ignore[return-value]


def checked_levels(given: object) -> int:
    """The number of levels that any model may have; UserError for what is no number."""
    if type(given) is not int:
        raise UserError(f"model argument levels={shown(given)}; expected {EXPECTED[int]}; set levels.count")
    return given


def checked_arguments(name: str, constructor: Callable[..., Codec], given: Mapping[str, object]) -> dict[str, Argument]:
    """The arguments given for the model of that name, each of the kind that its constructor says: int, float, bool or str.

    Raises UserError for one that is missing, of another kind, or that the constructor does not have.
    """
    parameters = inspect.signature(constructor, eval_str=True).parameters
    unknown = [key for key in given if key not in parameters]
    if unknown:
        raise UserError(
            f"model {name} has no {', '.join(map(shown, unknown[:4]))}; expected {', '.join(parameters)}; set those alone"
        )
    missing = [key for key, parameter in parameters.items() if parameter.default is parameter.empty and key not in given]
    if missing:
        raise UserError(f"model {name} without {', '.join(missing)}; expected a value; set model.{missing[0]}")
    values = {}
    for key, value in given.items():
        kind = parameters[key].annotation
        assert kind in EXPECTED, f"{name}.{key}: {kind}; expected int, float, bool or str"
        checked = _as(kind, value)
        if checked is None:
            raise UserError(f"model argument {key}={shown(value)}; expected {EXPECTED[kind]}; set model.{key}")
        values[key] = checked
    return values
