"""What a node of the configuration stands for: the object that its `_target_` makes."""

import re
from typing import Any

import hydra.utils
from hydra.errors import InstantiationException

from codec.types import UserError


def instantiate(node: Any, **arguments: Any) -> Any:
    """The object of a node, of its values and the further arguments given.

    Raises UserError, with the node's key, where there is no such class or function, or it does not take them.
    """
    try:
        return hydra.utils.instantiate(node, **arguments)
    except InstantiationException as error:
        if mistake := UserError.behind(error):
            raise mistake from error
        what, _, rest = str(error).partition("\n")
        key = re.search(r"full_key: (\S+)", rest)
        at = f"{key[1]}: {what[0].lower()}{what[1:]}" if key else what
        cause = _innermost(error)
        raise UserError(
            f"{at.partition(', set env')[0].rstrip(':')}: {type(cause).__name__}: {cause}; expected what the configuration "
            "names to be there and to take its values; mend either; --debug shows where"
        ) from error


def _innermost(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error
