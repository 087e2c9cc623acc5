"""What a codec is measured on and by: `test` and `perceptual` of every command that measures."""

from pathlib import Path

from omegaconf import DictConfig

from codec.config.command_line import readable
from codec.config.compose import composed, configurations, options_of, plain
from codec.config.nodes import instantiate
from codec.evaluation.measure import Measurement, load_measurement
from codec.report.of_run import is_measured
from codec.runs.folder import RunFolder
from codec.types import UserError
from data.testsets import TestSet

BESIDE = ("baselines", "measures", "device", "max_memory", "programs", "levels")  # keys of `test` that are not the set's


def load_test_set(test: DictConfig) -> TestSet:
    """The set that `test` chose.

    Raises UserError where it is not there.
    """
    return instantiate({key: value for key, value in test.items() if key not in BESIDE})


def find_test_set(name: str, pictures: Path | None) -> TestSet:
    """The set that results name: one of conf/test, or a folder of the user's own, whose place `pictures` says.

    Raises UserError where it is not there.
    """
    with configurations():
        words = [] if pictures is None else [readable("eval", f"test.root={pictures}")]
        if name in options_of("test"):
            return load_test_set(composed("eval", [f"test={name}", *words])[0].test)
        if pictures is None:
            raise UserError(
                f"the pictures of {name}, a set of your own; expected to be told where they lie; say --pictures FOLDER"
            )
        return load_test_set(composed("eval", ["test=folder", readable("eval", f"test.name={name}"), *words])[0].test)


def is_measured_as_asked(folder: RunFolder, cfg: DictConfig, test_set: TestSet) -> bool:
    """Whether a finished run has all of the results that cfg, a training's, asks for on its set."""
    levels = None if cfg.levels is None else min(cfg.test.levels, cfg.levels.count)
    return is_measured(folder, test_set, cfg.test.baselines, cfg.test.measures, levels)


def load_asked(cfg: DictConfig, test_set: TestSet) -> Measurement:
    """The set with the classical codecs and the measures that were asked for, loaded and checked.

    Raises UserError for what cannot be measured on the set.
    """
    return load_measurement(
        test_set,
        cfg.test.baselines,
        cfg.test.measures,
        cfg.perceptual,
        cfg.test.device,
        cfg.test.max_memory,
        plain(cfg.test.programs),
        cfg.test.levels,
    )
