"""`codec bench`: training step, coding and memory against another implementation in its own loop, in one run, in turn.

For Ballé's family that is CompressAI; for WACNN and SegPIC, of which it has none, the same network computed as its authors do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields

from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from codec.benchmark.sides import THEIRS, Settings
from codec.benchmark.timing import Row, instructions, measure
from codec.training.precision import choose_precision


def settings_of(cfg: DictConfig) -> Settings:
    """The keys of conf/bench.yaml as plain values."""
    values = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(values, dict)
    return Settings(**{field.name: values[field.name] for field in fields(Settings)})


def run(overrides: Sequence[str]) -> int:
    """The command; overrides are Hydra's, of conf/bench.yaml."""
    with initialize_config_module("conf", version_base="1.3"):
        settings = settings_of(compose("bench", list(overrides)))
    _show(settings, measure(settings))
    return 0


def _show(settings: Settings, rows: Mapping[str, Row]) -> None:
    """Print seconds, ratios and memory."""
    model = settings.model
    whose = "CompressAI" if model["name"] in THEIRS else "published"
    table = Table(title=f"{model['name']} N={model['N']} M={model['M']} against {whose}, {instructions()}")
    for heading in ("", "here s", f"{whose} s", "times as fast"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, row in rows.items():
        table.add_row(name, f"{row.ours:.3f}", f"{row.theirs:.3f}", f"{row.ratio:.2f}")
    Console().print(table)
    precision, (height, width) = choose_precision(settings.precision, "cpu"), settings.size
    print(f"training: batch {settings.batch_size} of {settings.crop}^2, {precision} against fp32; coding: {width}x{height}")
    for name, row in rows.items():
        if row.memory is not None:
            here, there = (bytes_ / 2**30 for bytes_ in row.memory)
            print(f"memory of a {name}: {here:.3f} GiB here, {there:.3f} GiB {whose}")
