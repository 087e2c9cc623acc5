"""`codec bench`: training step, coding and memory against another implementation in its own loop, in one run, in turn.

For Ballé's family that is CompressAI; for WACNN and SegPIC, of which it has none, the same network computed as its authors do.
"""

import math
from collections.abc import Mapping
from dataclasses import fields

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from codec.benchmark.sides import THEIRS, Settings
from codec.benchmark.timing import Row, instructions, measure
from codec.config.command_line import Words
from codec.config.compose import each_point, plain
from codec.training.precision import choose_precision
from codec.types import UserError, as_float, shown

STRIDE = 64  # pixels to an element of the side information of every model


def settings_of(cfg: DictConfig) -> Settings:
    """The keys of conf/bench.yaml as plain values. Raises UserError for one that cannot be measured."""
    values = plain(cfg)
    size, model = values["size"], values["model"]
    if type(size) is not list or len(size) != 2:
        raise UserError(f"size={shown(size)}; expected height and width, such as [512,768]; set size")
    counts = {name: values[name] for name in ("batch_size", "steps", "rounds")}
    counts |= {f"model.{name}": model[name] for name in ("N", "M") if name in model}
    for name, value in counts.items():
        if type(value) is not int or value < 1:
            raise UserError(f"{name}={shown(value)}; expected a whole number from 1; set {name}")
    for name, side in (("crop", values["crop"]), ("size", size[0]), ("size", size[1])):
        if type(side) is not int or side < 1 or side % STRIDE:  # CompressAI's networks do not pad
            raise UserError(f"{name} of {shown(side)}; expected a multiple of {STRIDE} pixels; set {name}")
    if not 0 < as_float(model["lmbda"]) < math.inf:
        raise UserError(f"model.lmbda={shown(model['lmbda'])}; expected a number above 0; set model.lmbda")
    if type(values["compile"]) is not bool:
        raise UserError(f"compile={shown(values['compile'])}; expected true or false; set compile")
    return Settings(**{field.name: values[field.name] for field in fields(Settings)})


def run(asked: Words) -> int:
    """The command, of conf/bench.yaml."""
    for cfg in each_point("bench", asked):
        settings = settings_of(cfg)
        rows, against_floats = measure(settings)
        _show(settings, rows)
        _show_exactness(against_floats)
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
            print(f"memory, {name}: {here:.3f} GiB here, {there:.3f} GiB {whose}")


def _show_exactness(rows: Mapping[str, Row]) -> None:
    """Print what it costs that files decode everywhere: entropy networks in exact arithmetic, and in floats."""
    table = Table(title="exact entropy networks, and the same in floats")
    for heading in ("", "exact s", "floats s", "times as long"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, row in rows.items():
        table.add_row(name, f"{row.ours:.3f}", f"{row.theirs:.3f}", f"{1 / row.ratio:.2f}")
    Console().print(table)
