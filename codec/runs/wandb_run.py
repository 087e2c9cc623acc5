"""A training as a run of W&B, which never ends it."""

import csv
import json
import os
import re
import threading
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger
from lightning.pytorch.loggers.logger import rank_zero_experiment

from codec.atomic import write_atomically
from codec.runs.folder import RunFolder
from codec.runs.measured import Measured
from codec.types import UserError

if TYPE_CHECKING:
    from wandb import Run

PATIENCE = 20.0  # seconds of a warning's, which are to do for the rest too, that W&B has for its end
OF_SWEEP = ("WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH")  # by which an agent says whose point it asks for


@contextmanager
def outside_sweep() -> Iterator[None]:
    """Within it a run of W&B is none of the sweep whose agent started this process."""
    kept = {name: os.environ.pop(name) for name in OF_SWEEP if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


class Known(NamedTuple):
    """What a run of W&B has for sure: all rows of a log up to a step, and of that step the values of these names."""

    run: str
    step: int = -1
    names: tuple[str, ...] = ()

    def lacks(self, step: int, row: Mapping[str, Any]) -> dict[str, Any]:
        """What of a row is new to it."""
        return {} if step < self.step else {key: row[key] for key in row if step > self.step or key not in self.names}

    def after(self, step: int, row: Mapping[str, Any]) -> "Known":
        """With a row more."""
        return Known(self.run, step, (*(self.names if step == self.step else ()), *row))


def rows_after(log: Path, step: int) -> Iterator[tuple[int, dict[str, float]]]:
    """The rows of a metrics.csv beyond a step, each with its own."""
    if log.exists():
        with log.open(newline="") as file:
            for row in csv.DictReader(file):
                at = int(row.pop("step"))
                if at > step:
                    yield at, {name: float(value) for name, value in row.items() if value}


class WandbRun(Logger):
    """One W&B run a training, which a resumed training continues: its id is kept in the run directory.

    Lightning's WandbLogger has an axis of its own beside ours, and never ends a run, so that the points of a sweep in
    one process would all land in the first. Without a network each start leaves a folder of its own below
    `<run_dir>/wandb`, all with the same id. The agent of a sweep gives its point an id that W&B made before: where that is
    another than the training had, as where a sweep asks for what is there, the run of that id gets everything.

    What W&B refuses to begin with, as without a login, is a UserError; from then on it never ends a training. SIGTERM, which
    SLURM gives all processes of a job, ends W&B's service at once, with what it had not written; then a line says so, and the
    next start of the run, or the same command once it is finished, gives W&B the rows of metrics.csv that it may lack.
    Pictures are not given again.
    offline: True, or WANDB_MODE=offline in the environment. config: the resolved configuration, as plain values.
    """

    def __init__(self, folder: RunFolder, config: Mapping[str, Any], *, project: str, offline: bool):
        super().__init__()
        self.folder, self.project, self.offline, self.config = folder, project, offline, config
        self._id_file = folder.path / "wandb_id"
        self._known_file = folder.path / "wandb_known.json"
        self._run: Run | None = None
        # Whether W&B has nothing of this training, in the run that it is asked for in.
        self.is_new = not self._id_file.exists() or self._id_file.read_text() != self._asked_id()
        self._known = self._known_before()
        self._caught_up = False  # whether this process has given it what others did not
        self.held = False  # whether more is to come after the training
        self.failed = False

    def _known_before(self) -> Known:
        """What W&B has of what earlier processes gave it."""
        known = Known(**json.loads(self._known_file.read_text())) if self._known_file.exists() else Known("")
        return known if known.run == self._asked_id() else Known("")

    def _asked_id(self) -> str | None:
        """The id that the run has to have: that of an agent, or that of before."""
        if self.of_sweep:
            return os.environ["WANDB_RUN_ID"]
        return self._id_file.read_text() if self._id_file.exists() else None

    @property
    def of_sweep(self) -> bool:
        """Whether an agent of a sweep asks, and wants an answer."""
        return "WANDB_SWEEP_ID" in os.environ and "WANDB_RUN_ID" in os.environ

    @property
    def name(self) -> str:
        return self.project

    @property
    def version(self) -> str | None:
        return self._run.id if self._run else None

    @property
    @rank_zero_experiment
    def experiment(self) -> "Run | None":
        """The run; None once W&B has failed. Raises UserError as `start`."""
        self.start()
        return self._run

    @rank_zero_only
    def start(self) -> None:
        """Make the run, or go on with it, on the first rank.

        Raises UserError where W&B refuses to begin; what was begun before goes on without it.
        """
        if self._run is not None or self.failed:
            return
        import wandb

        begun = self._id_file.exists()
        try:
            self._run = self._init()
        except Exception as error:
            if begun:
                self._give_up(error)
            elif isinstance(error, wandb.Error):
                raise UserError(
                    f"logger=wandb: {' '.join(str(error).split())}; expected a login and a network; "
                    "run `wandb login`, or set logger.wandb.offline=true"
                ) from error
            else:
                raise

    def _init(self) -> "Run":
        import wandb

        run = wandb.init(
            # An agent has said which, and W&B warns of what it is told beside that.
            project=None if self.of_sweep else self.project,
            id=None if self.of_sweep else self._asked_id(),
            group=self.config["experiment_name"],
            job_type="train",
            tags=_tags(self.config),
            name=f"{self.config['experiment_name']}/{self.folder.path.name}",
            resume="allow",
            mode="offline" if self.offline else None,
            dir=self.folder.path,
            config=dict(self.config),
        )
        write_atomically(self._id_file, run.id.encode())
        self._known = self._known._replace(run=run.id)
        run.define_metric("step")
        run.define_metric("*", step_metric="step")
        return run

    def _give_up(self, error: Exception) -> None:
        import wandb

        self._run, self.failed = None, True
        print(
            f"W&B takes nothing more ({type(error).__name__}: {' '.join(str(error).split())}); {self.folder.metrics_file} has "
            "everything, and W&B gets it from there when the same command is given again",
            flush=True,
        )
        with suppress(Exception):  # the same again; without this it would be a traceback at the end
            wandb.teardown()

    def _do(self, act: "Callable[[Run], None]") -> None:
        """Something with the run, which W&B's failure does not end."""
        self.start()
        if self._run is not None:
            try:
                act(self._run)
            except Exception as error:  # of any kind: those of sockets, of W&B's own, of protobuf
                self._give_up(error)

    def _lacking(self, before: float = float("inf")) -> list[tuple[int, dict[str, float]]]:
        """What W&B may not have of the rows of other processes."""
        if self._caught_up:
            return []
        rows = rows_after(self.folder.metrics_file, self._known.step - 1)
        return [(step, row) for step, whole in rows if step < before and (row := self._known.lacks(step, whole))]

    def _give(self, run: "Run", rows: Sequence[tuple[int, Mapping[str, Any]]]) -> None:
        """Rows in their order; what W&B has already is not given again."""
        self._caught_up = True
        for step, row in rows:
            if new := self._known.lacks(step, row):
                run.log({"step": step, **new})  # W&B drops what comes late under its own `step=`
                self._known = self._known.after(step, new)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run has the resolved configuration."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        assert step is not None
        self._do(lambda run: self._give(run, [*self._lacking(step), (step, metrics)]))

    @rank_zero_only
    def catch_up(self) -> None:
        """Give the run what it lacks of the log."""
        if rows := self._lacking():
            self._do(lambda run: self._give(run, rows))

    @rank_zero_only
    def log_measured(self, measured: Measured) -> None:
        """Figures as values of the summary, pictures as one row, a table of them, and the files as artifacts."""
        self._do(lambda run: self._give_measured(run, measured))

    def _give_measured(self, run: "Run", measured: Measured) -> None:
        import wandb

        self._give(run, self._lacking())
        run.summary.update(measured.named(measured.figures))
        rows = wandb.Table(list(measured.rows[0]), [list(row.values()) for row in measured.rows])
        pictures = {
            name: wandb.Image(picture.permute(1, 2, 0).numpy(), caption=caption)
            for name, (picture, caption) in measured.pictures.items()
        }
        run.log({"step": measured.step, **measured.named(pictures | {"pictures": rows})})
        for kind, files in measured.files.items():
            artifact = wandb.Artifact(re.sub(r"[^\w.-]", "-", f"{kind}-{run.id}", flags=re.ASCII), kind.partition("-")[0])
            for file in files:
                artifact.add_file(str(file))
            run.log_artifact(artifact)

    @rank_zero_only
    def end_for_now(self) -> None:
        """Say that the process is about to be stopped and will come back, and finish, for at most PATIENCE seconds."""
        if self._run is not None:
            self._do(lambda run: run.mark_preempting())
            finishing = threading.Thread(target=self.finalize, args=("failed",), daemon=True)
            finishing.start()
            finishing.join(PATIENCE)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End the run, unless it is held; where W&B lacks rows, begin it for them."""
        if not (self.held and status == "success") and (self._run is not None or self._lacking()):
            self._do(lambda run: self._finish(run, 1 if status == "failed" else 0))

    @rank_zero_only
    def release(self, status: str) -> None:
        """End the run that was held."""
        self.held = False
        if self._run is not None:
            self.finalize(status)

    def _finish(self, run: "Run", exit_code: int) -> None:
        import wandb

        self._give(run, self._lacking())
        run.finish(exit_code=exit_code)
        self._run = None
        wandb.teardown()  # W&B's service writes the end of its file after `finish`: whole when the service has ended
        write_atomically(self._known_file, json.dumps(self._known._asdict()).encode())


def _tags(config: Mapping[str, Any]) -> list[str]:
    """By what runs are looked for: model, profile and tag."""
    return [str(word)[:64] for word in (config["model"]["name"], config.get("profile"), config.get("tag")) if word]
