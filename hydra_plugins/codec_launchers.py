"""Launchers of a sweep's points; Hydra takes none from elsewhere, and imports this file at each start: keep it light."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hydra.plugins.launcher import Launcher

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn


class Processes(Launcher):
    """A process a point, `jobs` of them at a time: conf/hydra/launcher/processes.yaml."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs

    def setup(self, *, config: Any, **_: Any) -> None:
        """Keep what was composed for the whole sweep. Raises UserError for no jobs, before Hydra makes its folder."""
        from codec.types import UserError

        if type(self.jobs) is not int or self.jobs < 1:
            given = f"hydra.launcher.jobs={self.jobs}"
            raise UserError(f"{given}; expected a whole number of points at once; set hydra.launcher.jobs")
        self.hydra = config.hydra

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence["JobReturn"]:
        """Train the points; what each returned."""
        from codec.config.launch import in_processes

        return in_processes(self.hydra, job_overrides, initial_job_idx, self.jobs)


class Slurm(Launcher):
    """A job of SLURM a point, submitted by submitit: conf/hydra/launcher/slurm.yaml, with the plugin's own keys."""

    def __init__(self, **keys: Any) -> None:
        self.keys = keys

    def setup(self, *, config: Any, **_: Any) -> None:
        """Keep what was composed for the whole sweep."""
        self.hydra = config.hydra

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence["JobReturn"]:
        """Train the points; what each returned."""
        from codec.config.launch import in_jobs

        return in_jobs(self.hydra, job_overrides, initial_job_idx, self.keys, Task)


class Task:
    """What each task of a point's job does: the point's command, within the process in which submitit waits for its warning."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str]):
        self.words, self.environment = words, environment

    def __call__(self) -> None:
        """Train; ends with the exit status of the command."""
        os.environ |= self.environment
        from codec.cli import program

        program(self.words)

    def checkpoint(self) -> Any:
        """What submitit puts back into the queue: the same."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)
