"""What the codec of a run does on a test set, as loggers take it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from torch import Tensor

Value = TypeVar("Value")


class Measured(NamedTuple):
    """What was measured by files, named `test/<set>/` + the quantity in every logger.

    dataset: the name of the set. step: the last of the training. figures: means over the set, by quantity. rows: a picture
    each, all of the same columns. pictures: by name, uint8 [3, H, W] with a caption. files: what is to be kept, by kind, as
    `codec` or `results-kodak`.
    """

    dataset: str
    step: int
    figures: Mapping[str, float]
    rows: Sequence[Mapping[str, Any]]
    pictures: Mapping[str, tuple[Tensor, str]]
    files: Mapping[str, Sequence[Path]]

    def named(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """The values by their names in a log."""
        return {f"test/{self.dataset}/{name}": value for name, value in values.items()}

    def without(self, kind: str) -> "Measured":
        """All but the files of a kind."""
        return self._replace(files={name: files for name, files in self.files.items() if name != kind})
