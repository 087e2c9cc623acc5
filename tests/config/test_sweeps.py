"""The sweeps in sweeps/: valid for W&B, and what its agent would run composes to the paper's run."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

import sweeps
from codec.config.compose import composed, configurations
from codec.config.identity import identity

FILES = sorted((Path(__file__).parents[2] / "sweeps").glob("*.yaml"))
MODELS = {
    "bmshj2018_factorized": "factorized",
    "bmshj2018_hyperprior": "hyperprior",
    "mbt2018_mean": "mean_scale",
}
SIX_POINTS = {"wacnn": "wacnn", "bl_s": "wacnn", "segpic_nomask": "segpic", "segpic": "segpic", "segpic_s": "segpic"}


def agent_commands(sweep: dict[str, Any]) -> list[list[str]]:
    """The command line of each point of a grid over one parameter, put together as wandb/wandb_agent.py does."""
    ((name, parameter),) = sweep["parameters"].items()
    commands = []
    for value in parameter["values"]:
        variables: dict[str, list[str]] = create_sweep_command_args({"args": {name: {"value": value}}})
        variables |= {"env": ["/usr/bin/env"], "program": [sweep["program"]], "interpreter": ["python"]}
        line: list[str] = []
        for word in create_sweep_command(list(sweep["command"])):
            line += variables[word[2:-1]] if word.startswith("${") and word.endswith("}") else [word]
        commands.append(line)
    return commands


def test_there_is_a_sweep_for_each_model_and_loss() -> None:
    both = [f"{model}_{loss}" for model in MODELS for loss in ("mse", "ms_ssim")]
    assert [file.stem for file in FILES] == sorted(both + [f"{experiment}_mse" for experiment in SIX_POINTS])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_sweep_is_valid(file: Path) -> None:
    sweep = yaml.safe_load(file.read_text())
    assert sweeps.schema_violations_from_proposed_config(sweep) == []
    assert f"wandb sweep sweeps/{file.name}" in file.read_text()
    # The grid as W&B's own search goes through it: every point once.
    config = sweeps.SweepConfig(sweep)
    runs: list[Any] = []
    while (run := sweeps.next_run(config, runs)) is not None:
        runs.append(run)
    values = [run.config["model.lmbda"]["value"] for run in runs]
    assert sorted(values) == sorted(sweep["parameters"]["model.lmbda"]["values"])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_the_agent_runs_composes(file: Path) -> None:
    """The first and the last point, and those between which the model widens."""
    sweep = yaml.safe_load(file.read_text())
    model = file.stem.removesuffix("_mse").removesuffix("_ms_ssim")
    narrow = 0 if model in SIX_POINTS else 4 if "mbt" in model else 5  # points at 128 filters
    lines = agent_commands(sweep)
    assert all(line[:3] == ["/usr/bin/env", "codec", "train"] for line in lines)
    names: list[str] = []
    for place in sorted({0, max(0, narrow - 1), narrow, len(lines) - 1}):
        with configurations():
            config, choices = composed("train", lines[place][3:])
            names.append(identity(config, choices).name)
        assert config.model.name == (MODELS | SIX_POINTS)[model]
        assert config.experiment_name == model
        assert list(config.logger) == ["wandb"] and config.logger.wandb.project == sweep["project"]
        assert config.loss.distortion.path.endswith("ms_ssim" if "ms_ssim" in file.stem else "mse_255")
        assert config.loss.lmbda == config.model.lmbda == config.ladder[place]
        assert (128 if place < narrow else 192) == config.model.N
    # All of the ladder, and nothing that it lacks; a run directory a point.
    assert sweep["parameters"]["model.lmbda"]["values"] == list(config.ladder)[: 6 if model in SIX_POINTS else None]
    assert len(set(names)) == len(names)
