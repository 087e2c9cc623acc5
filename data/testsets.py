"""Sets of whole pictures to measure codecs on."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from codec.types import UserError
from data.images import list_images, read_image
from data.kodak import kodak_paths
from data.sources import photograph_paths


@dataclass(frozen=True)
class TestImage:
    """A picture of a test set: its file's name without suffix (below the set's folder), and how to read it."""

    __test__ = False  # no test of pytest's

    name: str
    load: Callable[[], Tensor]


def load_test_set(name: str, root: Path) -> list[TestImage]:
    """The pictures of a set, sorted by name: "photographs" (scikit-image's), "kodak" (in root/kodak), "folder" (root).

    Raises UserError where the set is unknown or not there.
    """
    if name == "photographs":
        return [TestImage(path.stem, partial(read_image, path)) for path in photograph_paths("test")]
    if name == "kodak":
        return [TestImage(path.stem, partial(read_image, path)) for path in kodak_paths(root / "kodak")]
    if name == "folder":
        paths = list_images(root)
        return [TestImage(str(path.relative_to(root).with_suffix("")), partial(read_image, path)) for path in paths]
    raise UserError(f"unknown test set '{name}'; expected photographs, kodak or folder; set data")
