"""Rate and distortion of a training at each of its validations, beside what was published, for those who look on."""

import io
from collections.abc import Mapping
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
from codec.types import MADE_BY


class DrawLive(Callback):
    """`report/live.png` below the trainer's default_root_dir, drawn again at each validation, and to the loggers.

    All validations of the run, those of metrics.csv from before a stop among them. Rates are estimated, not of files, and PSNR
    is of unrounded pictures. Published curves are there where the set of validation has any: crops are no set.
    """

    def __init__(self) -> None:
        self._points: dict[int, tuple[float, float]] = {}

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if trainer.is_global_zero:
            self._points = _points_of(RunFolder(Path(trainer.default_root_dir)), trainer.global_step)

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        values = trainer.callback_metrics
        self._points[trainer.global_step] = float(values["val/bpp"]), float(values["val/psnr"])
        data = trainer.datamodule  # type: ignore[attr-defined]
        name = data.val.name if data.val_source is None else "crops"
        content = _drawn(self._points, name, published_curves(name))
        path = Path(trainer.default_root_dir) / "report" / "live.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
        picture = torch.from_numpy(np.array(Image.open(io.BytesIO(content)).convert("RGB"))).permute(2, 0, 1)
        log_picture(trainer.loggers, "val/rate_distortion", picture, f"step {trainer.global_step}", trainer.global_step)


def _points_of(run: RunFolder, step: int) -> dict[int, tuple[float, float]]:
    """(bits per pixel, PSNR) of the validations up to a step, by theirs."""
    rows = [row for row in run.log() if row.get("val/bpp") and int(row["step"]) <= step]
    return {int(row["step"]): (float(row["val/bpp"]), float(row["val/psnr"])) for row in rows}


def _drawn(points: Mapping[int, tuple[float, float]], dataset: str, published: Mapping[str, Curve]) -> bytes:
    """A PNG: the validations, joined by step, the last with its step, and the curves of others, dashed."""
    import matplotlib  # here: half a second that not every command needs

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    steps = sorted(points)
    rates, qualities = zip(*(points[step] for step in steps), strict=True)
    figure, axes = plt.subplots(figsize=(7.2, 5), dpi=100, layout="constrained")
    for name, curve in published.items():
        axes.plot(*np.array(curve).T, "--", linewidth=1, label=name)
    axes.plot(rates, qualities, "-", color="black", linewidth=0.8)
    axes.scatter(
        rates, qualities, c=steps, cmap="viridis", edgecolors="black", zorder=5, label="this training, darker is earlier"
    )
    axes.annotate(f"step {steps[-1]}", (rates[-1], qualities[-1]), xytext=(8, -12), textcoords="offset points")
    axes.set_xlim(0, 1.5 * max(rates[-1], 0.1))  # where it is going, not where it began
    seen = [
        quality for curve in (points.values(), *published.values()) for rate, quality in curve if rate <= axes.get_xlim()[1]
    ]
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
