"""Which files of a folder are pictures: one rule for all that reads folders."""

import os
import stat
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from codec.types import MADE_BY, UserError, printable
from data.formats import EXPECTED, FORMAT_OF, what_lacks
from data.manifest import holds_maps

TEXT = "\0".join(MADE_BY).encode()
MARK = len(TEXT).to_bytes(4) + b"tEXt" + TEXT  # in the PNG files that this program draws
MARKED_WITHIN = 512  # bytes: such a text stands before the pixels
MOST_NAME = 255  # bytes, on nearly every file system
OTHERS = "of other kinds"
MOST_SUFFIXES = 6  # that a line names


def list_images(root: Path, setting: str = "data.root") -> list[Path]:
    """The picture files below a folder, sorted; what is passed over is printed, in one line with counts by reason.

    No pictures are: what is hidden (AppleDouble's ._NAME, too), what this program drew, maps of regions among it, and files
    of other suffixes. Linked folders are followed, each folder once.
    setting: what the user sets to name the folder, for messages.
    Raises UserError where the folder is missing or holds none.
    """
    if not root.is_dir():
        raise UserError(f"no folder at {root}; expected a folder of {EXPECTED} files; set {setting}")
    passed_over: Counter[str] = Counter()
    paths = _without_maps(root, sorted(_wanted(root, _why_no_picture, passed_over)), passed_over)
    _tell(root, f"{len(paths)} pictures", passed_over)
    if not paths:
        raise UserError(f"no pictures in {root}; expected {EXPECTED} files there or below; set {setting}")
    return paths


def list_files(root: Path, suffix: str) -> list[Path]:
    """The files below a folder that have a suffix, sorted, by the rule for pictures; what is passed over is printed.

    Raises UserError where there are none.
    """
    passed_over: Counter[str] = Counter()
    paths = sorted(_wanted(root, lambda entry, its: None if its == suffix else OTHERS, passed_over))
    _tell(root, f"{len(paths)} {suffix} files", passed_over)
    if not paths:
        raise UserError(f"no {suffix} files in {root}; expected some there or below; check the path")
    return paths


def _tell(root: Path, found: str, passed_over: Counter[str]) -> None:
    if passed_over:
        reasons = ", ".join(f"{count} {reason}" for reason, count in passed_over.most_common())
        print(printable(f"{root}: {found}; passed over: {reasons}"), flush=True)


def _wanted(root: Path, why_not: Callable[["os.DirEntry[str]", str], str | None], passed_over: Counter[str]) -> Iterator[Path]:
    """The files below a folder that are not hidden and for which nothing is said by `why_not`, of a file and its suffix."""
    others: Counter[str] = Counter()
    for entry in _files(root, passed_over):
        suffix = os.path.splitext(entry.name)[1].lower()
        if entry.name.startswith("."):
            passed_over["AppleDouble (._)" if entry.name.startswith("._") else "hidden"] += 1
        elif (reason := why_not(entry, suffix)) == OTHERS:
            others[suffix or "no suffix"] += 1
        elif reason is not None:
            passed_over[reason] += 1
        else:
            yield Path(entry.path)
    if others:
        named = [suffix for suffix, _ in others.most_common(MOST_SUFFIXES)] + ["..."] * (len(others) > MOST_SUFFIXES)
        passed_over[f"{OTHERS} ({', '.join(named)})"] += others.total()


def _why_no_picture(entry: "os.DirEntry[str]", suffix: str) -> str | None:
    if suffix not in FORMAT_OF:
        return OTHERS
    if (package := what_lacks(suffix)) is not None:
        return f"{suffix} without {package}"
    return "drawn by codec" if suffix == ".png" and _is_ours(entry.path) else None


def own_names(paths: Sequence[Path], suffix: str = ".lic") -> list[Path]:
    """A name for each of several paths: its own without the suffix, which stays where two differ in nothing else.

    suffix: of the files that will be named so.
    Raises UserError for a name to which nothing could be added, or which two would share.
    """
    uses = Counter(path.with_suffix("") for path in paths)
    names = [path if uses[path.with_suffix("")] > 1 else path.with_suffix("") for path in paths]
    long = [name for name in names if len(os.fsencode(name.name + suffix)) > MOST_NAME]
    if long:
        raise UserError(
            f"{long[0].name[:40]}... has {len(os.fsencode(long[0].name))} bytes, and {suffix} is to be added ({len(long)} "
            f"files); expected at most {MOST_NAME} in all; rename it"
        )
    taken: dict[Path, Path] = {}
    for path, name in zip(paths, names, strict=True):
        if (other := taken.setdefault(name, path)) != path:
            raise UserError(f"{other} and {path} would both be called {name}; expected names that differ; rename one")
    return names


def _files(root: Path, passed_over: Counter[str]) -> Iterator["os.DirEntry[str]"]:
    """The files below a folder; links to folders are followed last, so that a path that needs none comes first."""
    folders, links, seen = deque([str(root)]), deque[str](), set[tuple[int, int]]()
    while folders or links:
        is_link = not folders
        folder = links.popleft() if is_link else folders.popleft()
        try:
            facts = os.stat(folder)
            if (facts.st_dev, facts.st_ino) in seen:
                passed_over["links to a folder that is read already"] += is_link
                continue
            seen.add((facts.st_dev, facts.st_ino))
            with os.scandir(folder) as entries:
                inside = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            passed_over[f"folders that cannot be read ({error.strerror})"] += 1
            continue
        for entry in inside:
            if entry.is_dir():
                if entry.name.startswith("."):
                    passed_over["hidden folders"] += 1
                else:
                    (links if entry.is_symlink() else folders).append(entry.path)
            elif _is_file(entry, passed_over):
                yield entry


def _is_file(entry: "os.DirEntry[str]", passed_over: Counter[str]) -> bool:
    try:
        if stat.S_ISREG(entry.stat().st_mode):
            return True
        passed_over["pipes or devices"] += 1
    except OSError:
        passed_over["links to nothing"] += 1
    return False


def _is_ours(path: str) -> bool:
    """Whether this program drew a PNG, as it says in it."""
    try:
        with open(path, "rb") as file:
            return MARK in file.read(MARKED_WITHIN)
    except OSError:
        return False  # it is for its reader to say why


def _without_maps(root: Path, paths: Sequence[Path], passed_over: Counter[str]) -> list[Path]:
    """The files that lie in no folder of region maps below root."""
    folders = {folder for folder in {path.parent for path in paths if path.suffix == ".png"} if folder != root}
    folders |= {above for folder in folders for above in folder.parents if root in above.parents}
    maps = {folder for folder in folders if holds_maps(folder)}
    kept = [path for path in paths if maps.isdisjoint(path.parents)] if maps else list(paths)
    if len(kept) < len(paths):
        passed_over["in folders of region maps"] += len(paths) - len(kept)
    return kept
