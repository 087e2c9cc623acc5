"""How far runs are, as a table: read from their folders alone, by any process on any machine that sees them."""

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from codec.runs.folder import RunFolder
from codec.runs.point import Point
from codec.runs.state import RunState, read_state
from codec.runs.sweep_folder import Listed
from codec.types import printable

COLOURS = {"finished": "green", "running": "cyan", "failed": "red"}


def _lmbda(folder: Path) -> str:
    """λ of the run as it was asked for; empty where its configuration says none."""
    try:
        config: Any = yaml.safe_load(RunFolder(folder).config_file.read_text())
        return f"{config['model']['lmbda']:g}"
    except (OSError, yaml.YAMLError, TypeError, KeyError, ValueError):
        return ""


def _doing(state: RunState) -> str:
    if state.status == "failed" and state.failures > 1:
        return f"failed {state.failures} times of the same"
    if state.status == "finished" or state.steps is None:
        return state.status
    left = "" if state.seconds_left is None else f", {timedelta(seconds=round(state.seconds_left))} left"
    return f"{state.status} at {state.step} of {state.steps}{left}"


def _figures(state: RunState) -> tuple[str, str]:
    """Rate and PSNR: of files, or of the last batch of training, which is marked."""
    names = ("file_bpp", "psnr") if state.status == "finished" else ("train/bpp", "train/psnr")
    mark = "" if state.status == "finished" else "~"
    bpp, psnr = (state.figures.get(name) for name in names)
    return "" if bpp is None else f"{mark}{bpp:.3f}", "" if psnr is None else f"{mark}{psnr:.2f}"


def _table(first: str) -> Table:
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), caption="~ of the last batch logged; other figures are of files")
    table.add_column(first, overflow="fold")
    table.add_column("state", overflow="fold")
    for heading in ("λ", "bpp", "PSNR dB"):
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _coloured(state: RunState) -> str:
    return f"[{COLOURS.get(state.status, 'yellow')}]{escape(_doing(state))}[/]"


def _why(state: RunState) -> str:
    return escape(printable(state.why or "")) if state.status == "failed" else ""


def table_of_runs(folders: Iterable[Path]) -> Table:
    """A row a run: where it lies, what it does, λ, rate and quality, and why it failed."""
    table = _table("run")
    table.add_column("why", overflow="fold")
    for folder in folders:
        state = read_state(folder)
        if state is not None:
            table.add_row(escape(printable(str(folder))), _coloured(state), _lmbda(folder), *_figures(state), _why(state))
    return table


def table_of_sweep(points: Iterable[Listed]) -> Table:
    """A row a point: its number, what it does, λ, rate and quality, where its run lies, and why it failed."""
    table = _table("point")
    table.add_column("run", overflow="fold")
    table.add_column("why", overflow="fold")
    for point in points:
        state = read_state(point.folder) or RunState("asked")
        folder = escape(printable(str(point.folder)))
        table.add_row(str(point.number), _coloured(state), point.lmbda, *_figures(state), folder, _why(state))
    return table


def table_of_plan(points: Iterable[Point], disk: Iterable[int]) -> Table:
    """A row a point of a sweep that is not started: what it did so far, where it lies, and the bytes that it will take."""
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    for heading in ("point", "state", "λ", "run"):
        table.add_column(heading, overflow="fold")
    table.add_column("MB to come", justify="right", no_wrap=True)
    for point, size in zip(points, disk, strict=True):
        state = read_state(point.folder)
        doing = "new" if state is None else _coloured(state)
        table.add_row(str(point.number), doing, point.lmbda, escape(printable(str(point.folder))), f"{size / 1e6:,.0f}")
    return table
