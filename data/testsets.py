"""Sets of whole pictures to measure codecs on. conf/test names each of them by its function here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from codec.types import UserError, printable
from data.archives import ARCHIVES, FETCHED_TOGETHER, PLACED, archived_pictures
from data.folders import list_images, own_names
from data.images import check_whole, read_image
from data.kodak import kodak_paths
from data.sources import photograph_paths

SETS = (
    "photographs",
    "kodak",
    *ARCHIVES,
    *FETCHED_TOGETHER,
    *PLACED,
)  # with pictures of their own; any other name is that of a folder


@dataclass(frozen=True)
class TestImage:
    """A picture of a test set: its own name in the set, and how to read it as uint8 [3, H, W]."""

    __test__ = False  # no test of pytest's

    name: str
    load: Callable[[], Tensor]


@dataclass(frozen=True)
class TestSet:
    """Pictures to measure on, and the name of the set: in results, and of their files."""

    __test__ = False

    name: str
    pictures: Sequence[TestImage]


def photographs() -> TestSet:
    """Five photographs that scikit-image ships."""
    return TestSet("photographs", [TestImage(path.stem, partial(read_image, path)) for path in photograph_paths("test")])


def kodak(root: str | Path) -> TestSet:
    """The 24 Kodak photographs in the folder root.

    Raises UserError where one is missing.
    """
    paths = kodak_paths(Path(root))
    return TestSet("kodak", [TestImage(path.stem, partial(read_image, path)) for path in paths])


def archived(name: str, root: str | Path) -> TestSet:
    """A published set in the folder `root` of all sets; name: one of data/archives.py.

    Raises UserError where some of its pictures are missing.
    """
    return TestSet(name, [TestImage(path.stem, partial(read_image, path)) for path in archived_pictures(name, Path(root))])


def folder(root: str | Path, name: str | None = None) -> TestSet:
    """The pictures below the folder root, named by their path there; the suffix stays where two differ in nothing else.

    name: of the set; the folder's own name if None. What is no picture is told: list_images.
    Raises UserError where the folder is missing or holds no picture, one of them is broken or would have no room for its
    name's suffix, or the set would bear the name of another.
    """
    root = Path(root)
    paths = list_images(root, "test.root")
    check_whole(paths, "test.root")
    names = [printable(own.as_posix()) for own in own_names([path.relative_to(root) for path in paths])]
    pictures = [TestImage(own, partial(read_image, path)) for own, path in zip(names, paths, strict=True)]
    return TestSet(_free_name(root, root.resolve().name if name is None else name), pictures)


def _free_name(root: Path, name: str) -> str:
    """The name of a folder's set. Raises UserError for one that no file can bear, or that belongs to another set."""
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise UserError(f"the set in {root} would be called '{name}'; expected a word, which names files; set test.name")
    if name in SETS:
        raise UserError(
            f"the set in {root} would be called {name}, as another is; expected a name of its own; set test.name, or "
            f"test={name}"
        )
    return name
