"""Test sets that others give away as archives: where from, what they must be, and what is in them.

Sizes and hashes are those that TensorFlow Datasets holds the files to (url_checksums/clic.txt and div2k.txt).
"""

import json
import shutil
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from codec.atomic import replacing, write_atomically
from codec.download import BLOCK, download
from codec.types import UserError

MANIFEST = ".pictures.json"  # beside the pictures of a set that was fetched
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

    Raises UserError where some are missing or cut, and where there are others. `codec fetch` also finds one that is replaced.
    """
    return [path for part in FETCHED_TOGETHER.get(name, (name,)) for path in _of_part(part, root / part)]


def _of_part(name: str, folder: Path) -> list[Path]:
    count, place = PLACED.get(name, (0, ""))
    expected = count or ARCHIVES[name].pictures
    found, manifest = _pictures(folder), _manifest(folder)
    wrong = [own for own, (size, _) in (manifest or {}).items() if not _has_size(folder / own, size)]
    right = len(found) if manifest is None else len(manifest) - len(wrong)
    if right < expected:
        remedy = f"put {place} there" if place else f"run: codec fetch {name} --root {folder.parent}"
        which = f" ({wrong[0]} is missing or cut)" if wrong else ""
        raise UserError(f"{right} of the {expected} pictures of {name} are in {folder}{which}; expected all, as PNG; {remedy}")
    _check_no_others(found, manifest, expected, name, folder)
    return found


def _pictures(folder: Path) -> list[Path]:
    """The PNGs in a folder, sorted, without hidden ones, which a Mac and others put there."""
    return sorted(path for path in folder.glob("*.png") if not _is_hidden(path.name))


def _manifest(folder: Path) -> dict[str, list[int]] | None:
    """Size and CRC-32 of each picture, as their archive has them; None where they were put there without."""
    try:
        return json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return None


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _is_right(path: Path, size: int, crc: int) -> bool:
    """Whether the file at `path` is the one of the archive."""
    if not _has_size(path, size):
        return False
    found = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            found = zlib.crc32(block, found)
    return found == crc


def _check_no_others(found: Sequence[Path], manifest: Mapping[str, Any] | None, expected: int, name: str, folder: Path) -> None:
    """Raise UserError where there are more pictures than those of a set.

    found: what there is in `folder`. manifest: of the set `name`, where it is known. expected: how many pictures it has.
    """
    others = [path.name for path in found if path.name not in manifest] if manifest is not None else []
    if others or len(found) > expected:
        which = f" ({others[0]} first)" if others else ""
        raise UserError(
            f"{folder} holds {len(found)} PNGs, and {name} has {expected}; expected those alone; remove the others{which}"
        )


def fetch_archive(name: str, folder: Path, report: Callable[[str, int, int], None]) -> int:
    """Put the pictures of a set into `folder` where they are missing or broken; returns how many came.

    report(name, bytes so far, bytes in all or 0) is called as the archive comes; it is removed once its pictures are out.
    Pictures that were put there without a manifest, as by hand, are counted alone.
    Raises UserError without a network, for a file that is not the known one, and for pictures that are not of the set.
    """
    archive, manifest = ARCHIVES[name], _manifest(folder)
    if manifest is None:
        complete = len(_pictures(folder)) >= archive.pictures
    else:
        complete = all(_is_right(folder / own, *of_picture) for own, of_picture in manifest.items())
    came = 0 if complete else _fetch(name, archive, folder, report)
    _check_no_others(_pictures(folder), _manifest(folder), archive.pictures, name, folder)
    return came


def _fetch(name: str, archive: Archive, folder: Path, report: Callable[[str, int, int], None]) -> int:
    path = folder / ".download.zip"
    remedy = f"try again, or put its {archive.pictures} pictures into {folder} by hand"
    download(archive.url, path, archive.sha256, archive.size, remedy, partial(report, name))
    try:
        return _unpack(path, folder)
    finally:
        path.unlink(missing_ok=True)


def _unpack(path: Path, folder: Path) -> int:
    """Write what is missing or broken of the pictures of a ZIP into a folder, each by the last part of its name.

    Their sizes and checksums go beside them, so that what breaks later is found without the ZIP. Returns how many it wrote.
    """
    with zipfile.ZipFile(path) as archive:
        pngs = [info for info in archive.infolist() if PurePosixPath(info.filename).suffix == ".png"]
        pictures = {PurePosixPath(info.filename).name: info for info in pngs if not _is_hidden(info.filename)}
        manifest = {name: [info.file_size, info.CRC] for name, info in pictures.items()}
        write_atomically(folder / MANIFEST, json.dumps(manifest, indent=1).encode())
        wanted = [name for name, of_picture in manifest.items() if not _is_right(folder / name, *of_picture)]
        for name in wanted:
            with (
                archive.open(pictures[name]) as source,
                replacing(folder / name) as unfinished,
                unfinished.open("wb") as target,
            ):
                shutil.copyfileobj(source, target)
    return len(wanted)


def _is_hidden(name: str) -> bool:
    """Whether a Mac has put the file beside a picture of that name."""
    parts = PurePosixPath(name).parts
    return parts[-1].startswith(".") or "__MACOSX" in parts
