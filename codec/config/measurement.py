"""What a codec is measured on and by: `test` and `perceptual` of every command that measures."""

from omegaconf import DictConfig

from codec.config.compose import plain
from codec.config.nodes import instantiate
from codec.evaluation.measure import Measurement, load_measurement
from data.testsets import TestSet

BESIDE = ("baselines", "measures", "device", "max_memory", "programs", "levels")  # keys of `test` that are not the set's


def load_test_set(test: DictConfig) -> TestSet:
    """The set that `test` chose.

    Raises UserError where it is not there.
    """
    return instantiate({key: value for key, value in test.items() if key not in BESIDE})


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
