"""Rate and distortion of a training at each of its validations, beside what was published, for those who look on."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from PIL import Image

from codec.atomic import write_atomically
from codec.metrics.bd_rate import Curve
from codec.metrics.published import published_curves
from codec.runs.folder import RunFolder
from codec.runs.tracking import log_picture
from codec.runs.validations import Validated, validated
from codec.types import MADE_BY


class DrawLive(Callback):
    """`report/live.png` below the trainer's default_root_dir, drawn again at each validation, and to the loggers.

    All validations of the run, those of metrics.csv from before a stop among them, each a curve of a codec of several rates.
    Rates are estimated, not of files, and PSNR is of unrounded pictures. Published curves are there where the set of validation
    has any: crops are no set.
    """

    def __init__(self) -> None:
        self._points: dict[int, tuple[Validated, ...]] = {}

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if trainer.is_global_zero:
            self._points = _points_of(RunFolder(Path(trainer.default_root_dir)), trainer.global_step)

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        if points := validated(trainer.callback_metrics):
            self._points[trainer.global_step] = points
        if not self._points:  # of a training that diverged from its beginning there is nothing to draw
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        name = data.val.name if data.val_source is None else "crops"
        content = _drawn(self._points, name, published_curves(name))
        path = Path(trainer.default_root_dir) / "report" / "live.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
        picture = torch.from_numpy(np.array(Image.open(io.BytesIO(content)).convert("RGB"))).permute(2, 0, 1)
        log_picture(trainer.loggers, "val/rate_distortion", picture, f"step {trainer.global_step}", trainer.global_step)


def _points_of(run: RunFolder, step: int) -> dict[int, tuple[Validated, ...]]:
    """The points of the validations up to a step, by theirs."""
    found = {int(row["step"]): validated(row) for row in run.log() if int(row["step"]) <= step}
    return {of: points for of, points in found.items() if points}


def _drawn(points: Mapping[int, Sequence[Validated]], dataset: str, published: Mapping[str, Curve]) -> bytes:
    """A PNG: the validations, darker the earlier, the last with its step, and the curves of others, dashed.

    Those of one point each are joined by step, those of several by level.
    """
    import matplotlib  # here: half a second that not every command needs

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    steps = sorted(points)
    own = [[(point.bpp, point.psnr) for point in points[step]] for step in steps]
    at_last = own[-1][-1]
    lines = own if max(map(len, own)) > 1 else [[line[0] for line in own]]
    dots = [(*point, step) for step, line in zip(steps, own, strict=True) for point in line]
    figure, axes = plt.subplots(figsize=(7.2, 5), dpi=100, layout="constrained")
    for name, curve in published.items():
        axes.plot(*np.array(curve).T, "--", linewidth=1, label=name)
    for line in lines:
        axes.plot(*zip(*line, strict=True), "-", color="black", linewidth=0.8)
    rates, qualities, colours = zip(*dots, strict=True)
    axes.scatter(
        rates, qualities, c=colours, cmap="viridis", edgecolors="black", zorder=5, label="this training, darker is earlier"
    )
    axes.annotate(f"step {steps[-1]}", at_last, xytext=(8, -12), textcoords="offset points")
    axes.set_xlim(0, 1.5 * max(at_last[0], 0.1))  # where it is going, not where it began
    seen = [quality for curve in (*own, *published.values()) for rate, quality in curve if rate <= axes.get_xlim()[1]]
    axes.set_ylim(min(seen, default=0) - 0.5, max(seen, default=50) + 0.5)
    axes.set_xlabel("bits per pixel, estimated")
    axes.set_ylabel("PSNR in dB")
    axes.set_title(f"validation on {dataset}", parse_math=False)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3, fontsize="small")
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata=dict([MADE_BY]))
    plt.close(figure)
    return content.getvalue()
