"""What `codec report` reads: runs, sweeps, results as JSON and published curves, in any mix."""

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codec.evaluation.results import Results
from codec.metrics.published import Published, in_decibels, published, published_sets
from codec.runs.folder import RunFolder
from codec.runs.state import find_runs
from codec.runs.sweep_folder import SweepFolder
from codec.types import UserError

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
    """What was found. shown: names of published curves that were asked for. foreign: curves in CompressAI's layout."""

    runs: list[RunFolder] = field(default_factory=list)
    measured: list[Measured] = field(default_factory=list)
    foreign: list[Published] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)

    def sets(self) -> list[str]:
        """The names of the test sets, in their order."""
        names = [*(one.results.dataset for one in self.measured), *(curve.dataset for curve in self.foreign)]
        if not names:
            names = [name for name in published_sets() if set(self.shown) & set(published(name))]
        return list(dict.fromkeys(names))


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
        for path in sorted(SHIPPED_RESULTS.glob("*.json")):
            if path.stem in found.sets() or not found.measured:
                found.measured.append(Measured(Results.read(path), path))
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
            results = Results.read(file)
            found.measured.append(Measured(results, file, folder if is_learned(results) else None))
    if not runs:
        before = len(found.measured) + len(found.foreign)
        for file in sorted(path.rglob("*.json")):
            if _is_results(file):
                _add_file(found, file)
        if len(found.measured) + len(found.foreign) == before:
            raise UserError(
                f"no run and no results below {path}; expected what codec train or codec eval wrote; check the path"
            )


def _is_results(file: Path) -> bool:
    try:
        return isinstance(json.loads(file.read_text()).get("results"), dict)
    except (OSError, ValueError, AttributeError):
        return False


def _add_file(found: Sources, path: Path) -> None:
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} holds no JSON ({error}); expected results of codec or of CompressAI; check the path") from None
    if isinstance(document, dict) and "points" in document:
        results, run = Results.read(path), RunFolder.of_results(path)
        found.measured.append(Measured(results, path, run if is_learned(results) and run.config_file.is_file() else None))
        return
    try:
        found.foreign.append(_foreign(document, path, found.sets()))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path} holds no results ({type(error).__name__} {error}); expected those of codec, or CompressAI's layout: "
            "name and results with bpp and psnr-rgb"
        ) from None


def _foreign(document: dict[str, Any], path: Path, sets: Sequence[str]) -> Published:
    """A curve in CompressAI's layout; its set: what it says, else that of its folder, else that of the sources before it."""
    theirs = document["results"]
    columns = {"bpp": _numbers(theirs["bpp"])}
    for name, names in THEIR_NAMES.items():
        for column in (column for column in names if column in theirs):
            columns[name] = _numbers(theirs[column])
    linear = "ms_ssim" in columns and max(columns["ms_ssim"]) <= 1
    if "ms_ssim" in columns:
        values = columns.pop("ms_ssim")
        columns["ms_ssim_db"] = [in_decibels(value) for value in values] if linear else values
    points = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    said = document.get("dataset") or Path(str(document.get("meta", {}).get("dataset", ""))).name
    of_folder = path.resolve().parent.name
    dataset = said or (of_folder if of_folder in {*sets, *published_sets()} else next(iter(sets), of_folder))
    source = f"{path}: {document.get('description', 'no description')}"
    return Published(str(document["name"]), str(dataset), source, sorted(points, key=lambda point: point["bpp"]), linear)


def _numbers(values: Sequence[Any]) -> list[float]:
    return [float(value) for value in values]
