"""What `codec report` reads: runs, sweeps, results as JSON and published curves, in any mix."""

import difflib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from codec.evaluation.results import Results
from codec.metrics.published import Published, in_decibels, published, published_sets
from codec.runs.folder import RunFolder
from codec.runs.state import find_runs
from codec.runs.sweep_folder import SweepFolder
from codec.types import UserError, shown

SHIPPED_RESULTS = Path(__file__).parents[1] / "shipped"
SHIPPED = "shipped"  # the name of the codec that ships, as a source
THEIR_NAMES = {
    "psnr": ("psnr-rgb", "psnr", "psnr_rgb"), "ms_ssim": ("ms-ssim-rgb", "ms-ssim", "ms_ssim_rgb", "ms_ssim"),
    "lpips": ("lpips", "lpips-alex"), "fid": ("fid",),
}  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """Results with where they lie: their files are beside it. run: whose they are, where they are a run's own codec's."""

    results: Results
    path: Path
    run: RunFolder | None = None


@dataclass
class Sources:
    """What was found. shown: names of published curves that were asked for. foreign: curves in CompressAI's layout.

    left_out: what was not read, and why.
    """

    runs: list[RunFolder] = field(default_factory=list)
    measured: list[Measured] = field(default_factory=list)
    foreign: list[Published] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def sets(self) -> list[str]:
        """The names of the test sets, in their order."""
        names = [*(one.results.dataset for one in self.measured), *(curve.dataset for curve in self.foreign)]
        if not names:
            names = [name for name in published_sets() if set(self.shown) & set(published(name))]
        return list(dict.fromkeys(names))


@cache
def shipped_bundles() -> frozenset[str]:
    """The fingerprints of the bundles whose results ship: of the one codec that does."""
    made_by = [Results.read(path).made_by.get("bundle") for path in SHIPPED_RESULTS.glob("*.json")]
    return frozenset(bundle for bundle in made_by if bundle)


def is_learned(results: Results) -> bool:
    """Whether they are of a trained codec: one has rates by its likelihoods."""
    return any(row.estimated_bpp is not None for point in results.points for row in point.images)


def read_sources(words: Sequence[str]) -> Sources:
    """What each of the words names: a run, a folder of runs, a sweep, a JSON of results, a published curve, or `shipped`.

    Raises UserError for a word that names nothing.
    """
    found = Sources()
    for word in words:
        path = Path(word)
        if path.is_dir():
            _add_folder(found, path)
        elif path.is_file():
            _add_file(found, path)
        elif word == SHIPPED or any(word in published(name) for name in published_sets()):
            found.shown.append(word)
        else:
            raise UserError(_nothing_called(word))
    if SHIPPED in found.shown:
        shipped = {path.stem: path for path in sorted(SHIPPED_RESULTS.glob("*.json"))}
        wanted = [name for name in shipped if name in found.sets() or not found.measured]
        found.measured += [Measured(Results.read(shipped[name]), shipped[name]) for name in wanted]
        if not wanted:
            found.left_out.append(f"the shipped codec: it was measured on {' and '.join(shipped)}")
    for name in (name for name in found.shown if name != SHIPPED):
        of = [dataset for dataset in published_sets() if name in published(dataset)]
        if not set(of) & set(found.sets()):
            found.left_out.append(f"{name}: it was published on {' and '.join(of)}")
    return found


def _nothing_called(word: str) -> str:
    names = sorted({curve for name in published_sets() for curve in published(name)} | {SHIPPED})
    near = difflib.get_close_matches(word, names, 3, 0.5)
    like = f"; did you mean {' or '.join(near)}" if near else f"; published: {', '.join(names)}"
    return f"no file or folder at {word}, and nothing published is called so; expected a run, results or a name{like}"


def _add_folder(found: Sources, path: Path) -> None:
    runs = [listed.folder for listed in SweepFolder(path).points()] or list(find_runs(path))
    for folder in map(RunFolder, runs):
        if any(folder.path.resolve() == other.path.resolve() for other in found.runs):
            continue
        found.runs.append(folder)
        for file in sorted(folder.results.glob("*.json")):
            _add_where_sound(found, file)
    in_runs = [run.resolve() for run in {*runs, *find_runs(path)}]
    beside = [file for file in sorted(path.rglob("*.json")) if not any(file.resolve().is_relative_to(run) for run in in_runs)]
    if not any([_add_where_sound(found, file) for file in beside if _is_results(file, found)]) and not runs:
        raise UserError(f"no run and no results below {path}; expected what codec train or codec eval wrote; check the path")


def _is_results(file: Path, found: Sources) -> bool:
    """Whether a JSON in a folder, where there may be any, is of results; one that is broken is told of."""
    try:
        return isinstance(json.loads(file.read_text()).get("results"), dict)
    except (OSError, ValueError) as error:
        found.left_out.append(f"{file}: it holds no JSON ({error})")
    except AttributeError:
        pass  # a list, or a number
    return False


def _add_where_sound(found: Sources, file: Path) -> bool:
    """Whether it holds results, which are read then; the reason is told where not."""
    try:
        _add_file(found, file)
    except UserError as error:
        found.left_out.append(str(error))
        return False
    return True


def _add_file(found: Sources, path: Path) -> None:
    if any(path.resolve() == one.path.resolve() for one in found.measured):
        return
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} holds no JSON ({error}); expected results of codec or of CompressAI; check the path") from None
    if isinstance(document, dict) and "points" in document:
        results, run = Results.read(path), RunFolder.of_results(path)
        _check_name(results.dataset, path)
        found.measured.append(Measured(results, path, run if is_learned(results) and run.config_file.is_file() else None))
        return
    try:
        found.foreign.append(_foreign(document, path, found))
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path} holds no results ({type(error).__name__} {error}); expected those of codec, or CompressAI's layout: "
            "name and results with bpp and psnr-rgb"
        ) from None


def _check_name(dataset: str, path: Path) -> None:
    """Raise UserError for a set whose name can name no file."""
    if dataset in ("", ".", "..") or "/" in dataset or "\0" in dataset:
        raise UserError(f"{path} is of a set called {shown(dataset)}; expected a word, which names files; set its dataset")


def _foreign(document: dict[str, Any], path: Path, found: Sources) -> Published:
    """A curve in CompressAI's layout; its set: what it says, else that of its folder, else that of the sources before it.

    What is no finite number is left out, and told of.
    """
    theirs, sets = document["results"], found.sets()
    columns = {"bpp": _numbers(theirs["bpp"])}
    for name, names in THEIR_NAMES.items():
        column = next((column for column in names if column in theirs), None)
        if column is not None:
            columns[name] = _numbers(theirs[column])
    values = columns.pop("ms_ssim", [])
    linear = bool(values) and max((value for value in values if value is not None), default=0.0) <= 1
    if values:
        columns["ms_ssim_db"] = [_in_decibels(value) for value in values] if linear else values
    missing = sum(value is None for column in columns.values() for value in column)
    if missing:
        found.left_out.append(f"{path}: {missing} of its figures, which are no finite numbers")
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    points = [{name: value for name, value in row.items() if value is not None} for row in rows if row["bpp"] is not None]
    if not points:
        raise ValueError("no rate")
    said = document.get("dataset") or Path(str(document.get("meta", {}).get("dataset", ""))).name
    of_folder = path.resolve().parent.name
    dataset = said or (of_folder if of_folder in {*sets, *published_sets()} else next(iter(sets), of_folder))
    _check_name(str(dataset), path)
    source = f"{path}: {document.get('description', 'no description')}"
    return Published(str(document["name"]), str(dataset), source, sorted(points, key=lambda point: point["bpp"]), linear)


def _numbers(values: Sequence[Any]) -> list[float | None]:
    return [None if value is None or not math.isfinite(value) else float(value) for value in values]


def _in_decibels(value: float | None) -> float | None:
    return None if value is None or value == 1 else in_decibels(value)
