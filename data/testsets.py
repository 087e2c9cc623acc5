"""Sets of whole pictures to measure codecs on."""

from collections import Counter
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
    """A picture of a test set: its own name in the set, and how to read it."""

    __test__ = False  # no test of pytest's

    name: str
    load: Callable[[], Tensor]


def _folder(root: Path) -> list[TestImage]:
    """The pictures below `root`, named by their path there; the suffix stays where two differ in nothing else."""
    paths = [path.relative_to(root) for path in list_images(root)]
    uses = Counter(path.with_suffix("") for path in paths)
    names = [path if uses[path.with_suffix("")] > 1 else path.with_suffix("") for path in paths]
    return [TestImage(name.as_posix(), partial(read_image, root / path)) for name, path in zip(names, paths, strict=True)]


def load_test_set(name: str, root: Path) -> list[TestImage]:
    """The pictures of a set, sorted by name: "photographs" (scikit-image's), "kodak" (in root/kodak), "folder" (root).

    Raises UserError where the set is unknown or not there.
    """
    if name == "photographs":
        return [TestImage(path.stem, partial(read_image, path)) for path in photograph_paths("test")]
    if name == "kodak":
        return [TestImage(path.stem, partial(read_image, path)) for path in kodak_paths(root / "kodak")]
    if name == "folder":
        return _folder(root)
    raise UserError(f"unknown test set '{name}'; expected photographs, kodak or folder; set data")
