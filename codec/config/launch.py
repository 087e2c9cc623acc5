"""What Hydra's launchers do with the points that a sweeper gives them."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig

from codec.config.sweep import configuration_of, is_needed, point_of
from codec.runs.folder import RunFolder
from codec.runs.jobs import Jobs
from codec.runs.point import NAME, Point, command_of
from codec.runs.processes import Processes, gpu_shares, visible_gpus
from codec.runs.sweep_folder import SweepFolder
from codec.types import UserError

OURS = "hydra_plugins.codec_launchers."


def in_processes(hydra: Any, overrides: Sequence[Sequence[str]], before: int, jobs: int) -> list[JobReturn]:
    """Train points as processes of this machine, `jobs` at a time; what each returned, its last validation loss.

    hydra: Hydra's part of the configuration. overrides: of each point. before: how many points the sweep had before these.
    """
    points = _points(hydra, overrides, before)
    gpus = visible_gpus() if jobs > 1 and any(point.accelerator != "cpu" for point in points) else []
    shares = gpu_shares(jobs, points, gpus)
    SweepFolder(Path(hydra.sweep.dir)).add(points)
    Processes(shares, is_needed, _options(hydra)).train(points)
    return [_returned(point) for point in points]


def in_jobs(
    hydra: Any, overrides: Sequence[Sequence[str]], before: int, keys: Mapping[str, Any], task: Callable[..., Any]
) -> list[JobReturn]:
    """Train points as jobs of SLURM; what each returned, its last validation loss.

    hydra, overrides, before: as of in_processes. keys: of the launcher's configuration, those of hydra-submitit-launcher.
    task: makes what a task of a job does of the words of a command and of its environment.
    """
    points = _points(hydra, overrides, before)
    sweep = Path(hydra.sweep.dir)
    per_node, nodes = tasks_of(configuration_of(point).trainer for point in points)
    asked = {**keys, "tasks_per_node": per_node, "nodes": nodes}
    if asked["gpus_per_node"] is None and points[0].accelerator in ("gpu", "cuda"):
        asked["gpus_per_node"] = per_node

    def submit(new: Sequence[Point]) -> list[str]:
        words = [command_of(point, _options(hydra))[3:] for point in new]
        return submitted([task(line, {NAME: point.label}) for line, point in zip(words, new, strict=True)], asked)

    SweepFolder(sweep).add(points)
    Jobs(submit, is_needed).train(points, sweep)
    return [_returned(point) for point in points]


def tasks_of(trainers: Iterable[DictConfig]) -> tuple[int, int]:
    """How many tasks a node has, and how many nodes, which all points share. Raises UserError where that is not a number."""
    found = {(str(trainer.devices), str(trainer.num_nodes)) for trainer in trainers}
    ((devices, nodes), *others) = sorted(found)
    if others or not devices.isdecimal() or not nodes.isdecimal():
        given = ", ".join(f"trainer.devices={devices} trainer.num_nodes={nodes}" for devices, nodes in sorted(found))
        raise UserError(f"hydra/launcher=slurm with {given}; expected the same numbers for all points; set trainer.devices")
    return int(devices), int(nodes)


def submitted(tasks: Sequence[Callable[[], None]], keys: Mapping[str, Any]) -> list[str]:
    """The numbers of the jobs, as one array, that submitit submits for tasks. Raises UserError where SLURM refuses them."""
    from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
    from submitit import AutoExecutor
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    general = {field.name for field in dataclasses.fields(BaseQueueConf)}
    given = {name: value for name, value in keys.items() if name not in ("submitit_folder", "max_num_timeout")}
    executor = AutoExecutor(keys["submitit_folder"], cluster="slurm", slurm_max_num_timeout=keys["max_num_timeout"])
    executor.update_parameters(**{name if name in general else f"slurm_{name}": value for name, value in given.items()})
    try:
        return [str(job.job_id) for job in executor.submit_array(list(tasks))]
    except (FailedJobError, FailedSubmissionError) as error:
        raise UserError(f"SLURM takes no job: {' '.join(str(error).split())}; set hydra.launcher") from error


def _points(hydra: Any, overrides: Sequence[Sequence[str]], before: int) -> list[Point]:
    """The points with their numbers; how many there will be is known where they come at once, or the sweeper says so."""
    at_once = hydra.sweeper._target_.endswith(".BasicSweeper") and hydra.launcher._target_.startswith(OURS)
    total = len(overrides) if at_once else hydra.sweeper.get("n_trials", 0)
    return [point_of(words, before + place, total) for place, words in enumerate(overrides, 1)]


def _options(hydra: Any) -> Path | None:
    """The folder of --config-dir."""
    sources = [source for source in hydra.runtime.config_sources if source.provider == "command-line"]
    return Path(sources[0].path) if sources else None


def _returned(point: Point) -> JobReturn:
    """What Hydra's sweepers want to hear of a point; None for one that came to no end."""
    folder = RunFolder(point.folder)
    loss = folder.facts().get("val_loss") if folder.finished else None
    returned = JobReturn(overrides=list(point.words), working_dir=str(point.folder), status=JobStatus.COMPLETED)
    returned.return_value = loss
    return returned
