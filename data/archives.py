"""Test sets that others give away as archives: where from, what they must be, and what is in them.

Sizes and hashes are those that TensorFlow Datasets holds the files to (url_checksums/clic.txt and div2k.txt).
"""

import shutil
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from codec.download import download
from codec.types import UserError

ETHZ = "https://data.vision.ee.ethz.ch/cvl"


class Archive(NamedTuple):
    """A ZIP of pictures in PNG: its address, its SHA-256, its bytes, and how many pictures it holds."""

    url: str
    sha256: str
    size: int
    pictures: int


ARCHIVES = {
    "clic2020-professional": Archive(
        f"{ETHZ}/clic/test/CLIC2020Professional_test.zip",
        "857df244fc2bfa5da28d4c66bf0db16ee99bfc79eb807be8afa89cd507852884", 891643809, 250,
    ),
    "clic2020-mobile": Archive(
        f"{ETHZ}/clic/test/CLIC2020Mobile_test.zip",
        "2025f07a6c652270e534640de4271feef3b3dd3260beed4ac4821064837aa732", 721789976, 178,
    ),
    "clic-professional-valid": Archive(
        f"{ETHZ}/clic/professional_valid_2020.zip",
        "00be38092ade2ab5163b65f7f6523d46c7bca147007f559adbb02c0afc236b7d", 134834429, 41,
    ),
    "div2k-valid": Archive(
        f"{ETHZ}/DIV2K/DIV2K_valid_HR.zip",
        "20dd31fd84d777bc1cf5d6b7654a3f569c0aec74458ae094122ad1d0489900fc", 448993893, 100,
    ),
}  # fmt: skip
FETCHED_TOGETHER = {"clic2020-test": ("clic2020-professional", "clic2020-mobile")}
PLACED = {  # by hand: of these no hash is known
    "tecnick": (100, "the folder RGB/RGB_OR_1200x1200 of sourceforge.net/projects/testimages, OLD/OLD_SAMPLING/testimages.zip"),
}


def archived_pictures(name: str, root: Path) -> list[Path]:
    """The pictures of a set in the folder `root` of all sets, sorted: in the folder of its name, or in those of its parts.

    Raises UserError where some are missing.
    """
    return [path for part in FETCHED_TOGETHER.get(name, (name,)) for path in _of_part(part, root / part)]


def _of_part(name: str, folder: Path) -> list[Path]:
    count, place = PLACED.get(name, (0, ""))
    expected = count or ARCHIVES[name].pictures
    found = sorted(folder.glob("*.png"))
    if len(found) != expected:
        remedy = f"put {place} there" if place else f"run: codec fetch {name} --root {folder.parent}"
        raise UserError(f"{len(found)} of the {expected} pictures of {name} are in {folder}; expected all, as PNG; {remedy}")
    return found


def fetch_archive(name: str, folder: Path, report: Callable[[str, int, int], None]) -> int:
    """Put the pictures of a set into `folder`, where they are not there yet; returns how many came.

    report(name, bytes so far, bytes in all or 0) is called as the archive comes; it is removed once its pictures are out.
    Raises UserError without a network, and for a file that is not the known one.
    """
    archive = ARCHIVES[name]
    if len(list(folder.glob("*.png"))) == archive.pictures:
        return 0
    path = folder / ".download.zip"
    remedy = f"try again, or put its {archive.pictures} pictures into {folder} by hand"
    download(archive.url, path, archive.sha256, archive.size, remedy, partial(report, name))
    try:
        return _unpack(path, folder)
    finally:
        path.unlink()


def _unpack(path: Path, folder: Path) -> int:
    """Write the pictures of a ZIP into a folder, each by the last part of its name."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if PurePosixPath(name).suffix == ".png" and not _is_hidden(name)]
        for name in names:
            with archive.open(name) as source, (folder / PurePosixPath(name).name).open("wb") as target:
                shutil.copyfileobj(source, target)
    return len(names)


def _is_hidden(name: str) -> bool:
    """Whether a Mac has put the file beside a picture of that name."""
    parts = PurePosixPath(name).parts
    return parts[-1].startswith(".") or "__MACOSX" in parts
