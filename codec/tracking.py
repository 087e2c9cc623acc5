"""Where the numbers of a training go: metrics.csv always, TensorBoard or W&B beside it."""

import csv
import secrets
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

from codec.runs import RunFolder
from codec.types import UserError


def is_first_rank() -> bool:
    """Whether this process is the one that writes files."""
    return getattr(rank_zero_only, "rank", 0) == 0


class MetricsCsv(Logger):
    """The authoritative log: one row a logged step, `step` counting batches, flushed as it is written.

    Lightning's CSVLogger starts a new file with each start and forgets the old one; here a resumed run goes on in the
    same file, and rows behind the step that it resumes from, which it will write again, are cut.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.path = path
        self._columns = ["step"]
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

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        temporary = self.path.with_suffix(".tmp")
        with temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._columns, restval="")
            writer.writeheader()
            writer.writerows(rows)
        temporary.replace(self.path)

    def _rows(self) -> list[dict[str, str]]:
        if not self.path.exists():
            return []
        with self.path.open(newline="") as file:
            return list(csv.DictReader(file))

    @rank_zero_only
    def cut_after(self, step: int) -> None:
        """Forget rows behind `step`: a run that goes on from there writes them again."""
        self._rewrite([row for row in self._rows() if int(row["step"]) <= step])

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        row: dict[str, Any] = {"step": step} | {key: value for key, value in metrics.items() if key != "epoch"}
        new = [key for key in row if key not in self._columns]
        if new or not self.path.exists():
            self._columns += new
            self._rewrite(self._rows())
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self._columns, restval="").writerow(row)


def _wandb_id(folder: RunFolder) -> str:
    """The W&B id of a run: made once, kept in its folder, so that a resumed run is the same run."""
    file = folder.path / "wandb_id"
    if not file.exists():
        file.write_text(secrets.token_hex(4))
    return file.read_text().strip()


def make_loggers(choice: Mapping[str, Any], folder: RunFolder, config: dict[str, Any]) -> list[Logger]:
    """metrics.csv, and what conf/logger chose beside it; on all ranks, of which only the first writes.

    config: the resolved configuration, as plain values.
    """
    loggers: list[Logger] = [MetricsCsv(folder.metrics_file)]
    if choice["name"] == "tensorboard":
        loggers.append(TensorBoardLogger(folder.path, name="", version="tensorboard"))
    elif choice["name"] == "wandb":
        loggers.append(
            WandbLogger(
                project=choice["project"],
                group=config["experiment_name"],
                name=f"{config['experiment_name']}/{folder.path.name}",
                id=_wandb_id(folder) if is_first_rank() else None,
                resume="allow",
                offline=choice["offline"],
                save_dir=folder.path,
                config=config,
            )
        )
    elif choice["name"] != "csv":
        raise UserError(f"logger={choice['name']}; expected csv, tensorboard or wandb; set logger")
    return loggers
