"""What a sweep ends with: Hydra's callback after its last point."""

import os
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from codec.runs.folder import RunFolder

_points: list[tuple[RunFolder, str, list[str]]] = []


def note_point(folder: RunFolder, dataset: str, baselines: list[str]) -> None:
    """Note where a point lies, and on what it is measured."""
    _points.append((folder, dataset, baselines))


class SweepReport(Callback):
    """One rate-distortion plot over the points that came to an end."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Begin with no points."""
        _points.clear()

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Plot all points that came to an end, beside the classical codecs."""
        from codec.report.of_sweep import report_on_sweep  # here: Hydra imports this file before a typo is answered

        finished = [point for point in _points if point[0].finished]
        if finished:
            _, dataset, baselines = finished[0]
            folders = list(dict.fromkeys(folder.path for folder, name, _ in finished if name == dataset))
            report_on_sweep(folders, dataset, baselines, os.path.commonpath([path.parent for path in folders]))
