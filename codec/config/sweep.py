"""The points of a sweep: what its words ask for, where each lies, what is left to do for it, and what the sweep ends with."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from codec.config.command_line import Words, parsed
from codec.config.compose import composed, points
from codec.config.identity import identity, run_path
from codec.runs.folder import RunFolder
from codec.runs.point import Point
from codec.runs.state import read_state
from codec.runs.sweep_folder import SweepFolder
from codec.types import UserError

if TYPE_CHECKING:
    from data.testsets import TestSet

GIVE_UP = 3  # failures of the same, after which a point is left alone


@cache
def _composed(words: tuple[str, ...]) -> tuple[DictConfig, Mapping[str, Any]]:
    return composed("train", words)


@cache
def _folder(words: tuple[str, ...]) -> Path:
    cfg, choices = _composed(words)
    return run_path(cfg, identity(cfg, choices))


def of_training(overrides: Sequence[str]) -> tuple[str, ...]:
    """Those overrides that a point's own command takes: what is Hydra's is the sweep's."""
    return tuple(word for word in overrides if not word.lstrip("+~").startswith(("hydra.", "hydra/")))


def point_of(overrides: Sequence[str], number: int, total: int) -> Point:
    """A point of a sweep of `total`, 0 where that is not known, while Hydra knows conf/."""
    words = of_training(overrides)
    cfg, _ = _composed(words)
    lmbda = f"{cfg.model.lmbda:g}"
    return Point(number, total, cfg.model.name, lmbda, _folder(words), words, cfg.trainer.devices, cfg.trainer.accelerator)


def points_of(asked: Words) -> list[Point]:
    """The points that a command asks for; where a sweeper chooses them as it goes, one with what all of them share."""
    _composed.cache_clear()  # a command before in this process may have had another environment
    _folder.cache_clear()
    overrides = points(asked)
    return [point_of(words, number, len(overrides)) for number, words in enumerate(overrides, 1)]


def chooses_points(asked: Words) -> bool:
    """Whether a sweeper chooses the points as it goes."""
    return asked.sweeps and any(override.key_or_group == "hydra/sweeper" for override in parsed(asked.overrides))


def configuration_of(point: Point) -> DictConfig:
    """What a point was composed to."""
    return _composed(point.words)[0]


def sweep_folder(asked: Words, points: Sequence[Point]) -> SweepFolder:
    """Where the sweep lies: beside its runs, by a name for what they are."""
    above = Path(os.path.commonpath([point.folder.parent.absolute() for point in points]))
    names = sorted(str(point.folder.absolute().relative_to(above)) for point in points)
    if chooses_points(asked):
        names += sorted(word for word in asked.overrides if word.startswith("hydra/") or parsed([word])[0].is_sweep_override())
    if Path.cwd() in above.parents:
        above = above.relative_to(Path.cwd())
    return SweepFolder(above / f"sweep_{hashlib.sha256(' '.join(names).encode()).hexdigest()[:8]}")


def is_left_alone(point: Point) -> bool:
    """Whether it failed too often of the same, and nobody said that it is to be tried again."""
    state = read_state(point.folder)
    failed = state is not None and state.status == "failed" and state.failures >= GIVE_UP
    return failed and not configuration_of(point).retry


def is_needed(point: Point) -> bool:
    """Whether there is something to do for a point: to train, to measure, or to log."""
    cfg = configuration_of(point)
    folder = RunFolder(point.folder)
    if not folder.finished:
        return not is_left_alone(point)
    from codec.config.measurement import is_measured_as_asked  # seconds, which a sweep that begins does not need

    logged = set(cfg.logger) <= set(folder.facts().get("logged_to", []))
    return not (logged and is_measured_as_asked(folder, cfg, _test_set(point.words)))


def _test_set(words: tuple[str, ...]) -> "TestSet":
    from codec.config.measurement import load_test_set

    return load_test_set(_composed(words)[0].test)


def check_test_sets(points: Sequence[Point]) -> None:
    """Raise UserError for a test set that is not there, before any point is trained."""
    for words in {repr(configuration_of(point).test): point.words for point in points}.values():
        _test_set(words)


def _set_called(name: str, words: tuple[str, ...]) -> "TestSet":
    """The set of that name: the one that `words` ask for, or another that runs were measured on before."""
    from codec.config.measurement import find_test_set

    asked = _test_set(words)
    return asked if asked.name == name else find_test_set(name, None)


def draw_plot(sweep: SweepFolder, words: tuple[str, ...]) -> None:
    """Plot the points that came to an end, on the set and beside the classical codecs that `words` ask for, and write the page.

    What they save is printed.
    """
    finished = [folder for listed in sweep.points() if (folder := RunFolder(listed.folder)).finished]
    if not finished:
        return
    from codec.report.of_run import has_results
    from codec.report.of_sweep import plot_sweep, report_sweep

    dataset, baselines = _test_set(words).name, list(_composed(words)[0].test.baselines)
    if measured := [folder for folder in finished if has_results(folder, dataset, baselines)]:
        plot_sweep(measured, dataset, baselines, sweep.plot)
        report_sweep(sweep.path, lambda name: _set_called(name, words))


def check_end(sweep: SweepFolder) -> None:
    """Raise UserError, with all that failed and why, where points are missing at the end of a sweep."""
    states = [(listed, read_state(listed.folder)) for listed in sweep.points()]
    failed = [
        f"[{listed.number}] λ={listed.lmbda}: {state.why}" for listed, state in states if state and state.status == "failed"
    ]
    others = sum(state is None or state.status not in ("failed", "finished") for _, state in states)
    if failed:
        raise UserError(f"{len(failed)} of {len(states)} points failed: {' | '.join(failed)}")
    if others:
        raise UserError(f"{others} of {len(states)} points are not finished; the same command goes on with them")
