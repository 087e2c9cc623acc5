"""Where the numbers of a training go: metrics.csv always, TensorBoard or W&B beside it."""

import csv
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from torch import Tensor

from codec.atomic import replacing
from codec.runs.folder import RunFolder
from codec.runs.measured import Measured
from codec.runs.wandb_run import WandbRun, rows_after


def is_first_rank() -> bool:
    """Whether this process is the one that writes files."""
    return getattr(rank_zero_only, "rank", 0) == 0


class MetricsCsv(Logger):
    """The authoritative log: one row a logged step, `step` counting batches, on the disk as soon as it is logged.

    Lightning's CSVLogger deletes the file of the run that it resumes, holds 100 rows back, and gives the validation of
    a step a row of its own. Here a resumed run goes on in the same file, without the rows after the step that it
    resumes from, since it will write those again.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.path = path
        self._columns = ["step"]
        self._last: dict[str, Any] = {}  # the last row and where it begins: the validation of that step may join it
        self._last_begins = 0
        if path.exists():
            with path.open(newline="") as file:
                self._columns = next(csv.reader(file), self._columns)

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run directory holds config.yaml."""

    def _rows(self) -> list[dict[str, str]]:
        if not self.path.exists():
            return []
        with self.path.open(newline="") as file:
            return list(csv.DictReader(file))

    def _rewrite(self, rows: Sequence[Mapping[str, Any]]) -> None:
        with replacing(self.path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._columns, restval="")
            writer.writeheader()
            writer.writerows(rows)

    @rank_zero_only
    def cut_after(self, step: int) -> None:
        """Forget rows after `step`: a run that goes on from there writes them again."""
        self._rewrite([row for row in self._rows() if int(row["step"]) <= step])

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        row: dict[str, Any] = {"step": step, **metrics}
        joins = self._last.get("step") == step
        if joins:
            row = self._last | row
        new = [key for key in row if key not in self._columns]
        if new or not self.path.exists():
            self._columns += new
            rows = self._rows()
            self._rewrite(rows[:-1] if joins else rows)
            joins = False
        if not joins:
            self._last_begins = self.path.stat().st_size
        with self.path.open("r+", newline="") as file:
            file.seek(self._last_begins)
            csv.DictWriter(file, self._columns, restval="").writerow(row)
            file.truncate()
        self._last = row


def start_loggers(loggers: Sequence[Logger]) -> None:
    """Begin with those that may refuse, before anything else is started. Raises UserError."""
    for logger in loggers:
        if isinstance(logger, WandbRun):
            logger.start()


def end_loggers_for_now(loggers: Sequence[Logger]) -> None:
    """End those that need time for it, before a process is stopped that will come back."""
    for logger in loggers:
        if isinstance(logger, WandbRun):
            logger.end_for_now()


def log_picture(loggers: Sequence[Logger], name: str, picture: Tensor, caption: str, step: int) -> None:
    """Give a picture, uint8 [3, H, W], to those loggers that take pictures, with its name, its caption and its step."""
    for logger in loggers:
        if isinstance(logger, WandbRun):
            import wandb

            logger.log_metrics({name: wandb.Image(picture.permute(1, 2, 0).numpy(), caption=caption)}, step)
        elif isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(name, picture, step)


def log_beside(loggers: Iterable[Logger], values: Mapping[str, float], step: int) -> None:
    """Give values that no two runs have alike to those loggers that show a training; metrics.csv is not of them."""
    for logger in loggers:
        if not isinstance(logger, MetricsCsv):
            logger.log_metrics(dict(values), step)


class TensorBoard(TensorBoardLogger):
    """Event files in the run directory; what a resumed run writes again takes the place of what was there."""

    def __init__(self, folder: RunFolder, config: Mapping[str, Any]):
        super().__init__(folder.path, name="", version="tensorboard", default_hp_metric=False)
        self.config = config

    @rank_zero_only
    def cut_after(self, step: int) -> None:
        """Let readers forget what stands after `step`: a run that goes on from there writes it again."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        writer = self.experiment._get_file_writer()
        writer.add_event(Event(step=step + 1, file_version="brain.Event:2"))
        writer.add_event(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))

    @rank_zero_only
    def log_measured(self, measured: Measured) -> None:
        """Figures as scalars, beside the configuration as hyperparameters, and the pictures."""
        self.log_hyperparams(dict(self.config), measured.named(measured.figures), measured.step)
        for name, (picture, _) in measured.named(measured.pictures).items():
            self.experiment.add_image(name, picture, measured.step)
        self.finalize("success")


def cut_after(loggers: Iterable[Logger], step: int) -> None:
    """Take back what stands after `step`, from which a run goes on; W&B is not given again what it has."""
    for logger in loggers:
        if isinstance(logger, (MetricsCsv, TensorBoard)):
            logger.cut_after(step)


def log_measured(logger: Logger, measured: Measured) -> None:
    """Give what was measured to a logger; of the figures alone to one of the user's own."""
    if isinstance(logger, (WandbRun, TensorBoard)):
        logger.log_measured(measured)
    else:
        logger.log_metrics(measured.named(measured.figures), measured.step)
        logger.save()


@contextmanager
def held(loggers: Sequence[Logger]) -> Iterator[None]:
    """Within it W&B's runs do not end with the training: what was measured belongs to them."""
    runs = [logger for logger in loggers if isinstance(logger, WandbRun)]
    for run in runs:
        run.held = True
    status = "failed"
    try:
        yield
        status = "success"
    finally:
        for run in runs:
            run.release(status)


def has_failed(logger: Logger) -> bool:
    """Whether it has not taken all that it was given."""
    return isinstance(logger, WandbRun) and logger.failed


def wants_all(logger: Logger) -> bool:
    """Whether it has nothing of a run, whatever the run's folder says: it goes where an agent of a sweep says."""
    return isinstance(logger, WandbRun) and logger.is_new


def log_again(log: Path, logger: Logger) -> None:
    """Give the rows of a metrics.csv to a logger that did not see its training, or not all."""
    if isinstance(logger, WandbRun):
        logger.catch_up()
        return
    for step, row in rows_after(log, -1):
        logger.log_metrics(row, step)
    logger.finalize("success")


def answer_agent(loggers: Iterable[Logger]) -> None:
    """Begin the run that an agent of a W&B sweep waits for, where there was nothing to say in it."""
    for logger in loggers:
        if isinstance(logger, WandbRun) and logger.of_sweep:
            logger.start()
