"""What a codec is measured on and by: `test` and `perceptual` of every command that measures."""

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from codec.evaluation.measure import Measurement, load_measurement
from codec.types import UserError
from data.testsets import TestSet

BESIDE = ("baselines", "measures")  # keys of `test` that are not the set's


def load_test_set(test: DictConfig) -> TestSet:
    """The set that `test` chose.

    Raises UserError where it is not there, or its folder was not given.
    """
    for key in OmegaConf.missing_keys(test):
        raise UserError(f"no {key} given; expected the folder of the pictures; set {key}")
    return instantiate({key: value for key, value in test.items() if key not in BESIDE})


def load_asked(cfg: DictConfig) -> Measurement:
    """The set, the classical codecs and the measures that were asked for, loaded and checked.

    Raises UserError for a set that is not there, or what cannot be measured on it.
    """
    return load_measurement(load_test_set(cfg.test), cfg.test.baselines, cfg.test.measures, cfg.perceptual)
