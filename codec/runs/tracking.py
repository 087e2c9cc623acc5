"""Where the numbers of a training go: metrics.csv always, TensorBoard or W&B beside it."""

import csv
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from torch import Tensor

from codec.atomic import replacing, write_atomically
from codec.runs.folder import RunFolder
from codec.types import UserError

if TYPE_CHECKING:
    from wandb import Run


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


class WandbRun(Logger):
    """One W&B run a training, which a resumed training continues: its id is kept in the run directory.

    Lightning's WandbLogger has an axis of its own beside ours, and never ends a run, so that the points of a sweep in
    one process would all land in the first. Without a network each start leaves a folder of its own below
    `<run_dir>/wandb`, all with the same id; rows after a checkpoint then stand in two of them, with equal values.
    offline: True, or WANDB_MODE=offline in the environment. config: the resolved configuration, as plain values.
    """

    def __init__(self, folder: RunFolder, config: Mapping[str, Any], *, project: str, offline: bool):
        super().__init__()
        self.folder, self.project, self.offline, self.config = folder, project, offline, config
        self._run: Run | None = None

    @property
    def name(self) -> str:
        return self.project

    @property
    def version(self) -> str | None:
        return self._run.id if self._run else None

    @property
    @rank_zero_experiment
    def experiment(self) -> "Run":
        """The run, made on the first rank when training begins.

        Raises UserError where W&B refuses, as without a login.
        """
        if self._run is None:
            import wandb

            id_file = self.folder.path / "wandb_id"
            try:
                run = wandb.init(
                    project=self.project,
                    group=self.config["experiment_name"],
                    name=f"{self.config['experiment_name']}/{self.folder.path.name}",
                    id=id_file.read_text() if id_file.exists() else None,
                    resume="allow",
                    mode="offline" if self.offline else None,
                    dir=self.folder.path,
                    config=dict(self.config),
                )
            except wandb.Error as error:
                raise UserError(
                    f"logger=wandb: {' '.join(str(error).split())}; expected a login and a network; "
                    "run `wandb login`, or set logger.wandb.offline=true"
                ) from error
            write_atomically(id_file, run.id.encode())  # W&B's choice: an agent of a sweep has given the run its id
            run.define_metric("step")
            run.define_metric("*", step_metric="step")
            self._run = run
        return self._run

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run has the resolved configuration."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        self.experiment.log({"step": step, **metrics})  # W&B drops what comes late under its own `step=`

    @rank_zero_only
    def finalize(self, status: str) -> None:
        if self._run is not None:
            import wandb

            self._run.finish(exit_code=1 if status == "failed" else 0)
            self._run = None
            wandb.teardown()  # W&B's service writes the end of its file after `finish`: whole when the service has ended


def log_picture(loggers: Sequence[Logger], name: str, picture: Tensor, caption: str, step: int) -> None:
    """Give a picture, uint8 [3, H, W], to those loggers that take pictures, with its name, its caption and its step."""
    for logger in loggers:
        if isinstance(logger, WandbRun):
            import wandb

            logger.log_metrics({name: wandb.Image(picture.permute(1, 2, 0).numpy(), caption=caption)}, step)
        elif isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(name, picture, step)


def tensorboard(folder: RunFolder, config: Mapping[str, Any]) -> TensorBoardLogger:
    """Event files in the run directory; the configuration lies there already."""
    return TensorBoardLogger(folder.path, name="", version="tensorboard")


def log_again(log: Path, logger: Logger) -> None:
    """Give the rows of a metrics.csv to a logger that did not see its training."""
    with log.open(newline="") as file:
        for row in csv.DictReader(file):
            step = int(row.pop("step"))
            logger.log_metrics({name: float(value) for name, value in row.items() if value}, step)
    logger.finalize("success")
