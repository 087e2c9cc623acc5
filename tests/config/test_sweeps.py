"""The sweeps in sweeps/: valid for W&B, and what its agent would run composes to the paper's run."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import REPOSITORY
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

import sweeps
from codec.config.command_line import parse_words
from codec.config.compose import composed, configurations, plain
from codec.config.identity import identity
from codec.training.settings import check_settings

FILES = sorted((REPOSITORY / "sweeps").glob("*.yaml"))
MODELS = {
    "bmshj2018_factorized": "factorized",
    "bmshj2018_hyperprior": "hyperprior",
    "mbt2018_mean": "mean_scale",
}
SIX_POINTS = {"wacnn": "wacnn", "bl_s": "wacnn", "segpic_nomask": "segpic", "segpic": "segpic", "segpic_s": "segpic"}
LADDERS = sorted(
    [f"{model}_{loss}" for model in MODELS for loss in ("mse", "ms_ssim")] + [f"{name}_mse" for name in SIX_POINTS]
)
HIFIC = {  # what each asks for beside its rates, and whether it has a second stage
    "hific": ({}, True),
    "hific_mse_lpips": ({}, False),
    "hific_mean_scale": ({"model.name": "mean_scale"}, False),
    "hific_no_lpips": ({"loss.perceptual_weight": 0}, True),
    "hific_instance_norm": ({"model.norm": "instance"}, True),
}
OTHERS = ("hific_beta", "mean_scale_bayes")
OF_EACH_KIND = ("mbt2018_mean_ms_ssim", "segpic_s_mse", "hific_no_lpips", "hific_beta", "mean_scale_bayes")
NUM_OF_SEARCH = 3  # points of a search that are looked at


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((REPOSITORY / "sweeps" / f"{name}.yaml").read_text())


def points(sweep: dict[str, Any]) -> list[dict[str, Any]]:
    """The parameters of each point, as W&B's own search gives them out; the first ones of a search without an end."""
    config, runs = sweeps.SweepConfig(sweep), list[Any]()
    while (run := sweeps.next_run(config, runs)) is not None:
        runs.append(run)
        if sweep["method"] != "grid" and len(runs) == NUM_OF_SEARCH:
            break
        run.state, run.summary_metrics = "finished", {"val/loss": float(len(runs))}
    return [run.config for run in runs]


def agent_command(sweep: dict[str, Any], args: dict[str, Any]) -> list[str]:
    """The command line of a point, put together as wandb/wandb_agent.py does."""
    variables: dict[str, list[str]] = create_sweep_command_args({"args": args})
    variables |= {"env": ["/usr/bin/env"], "program": [sweep["program"]], "interpreter": ["python"]}
    line: list[str] = []
    for word in create_sweep_command(list(sweep["command"])):
        line += variables[word[2:-1]] if word.startswith("${") and word.endswith("}") else [word]
    assert line[:3] == ["/usr/bin/env", "codec", "train"]
    return line[3:]


def configuration(words: list[str]) -> tuple[Any, str, dict[str, str]]:
    """What the command's words ask for; the name of its run, and all that changes its weights."""
    with configurations():
        config, choices = composed("train", parse_words("train", words).overrides)
        check_settings(plain(config))
        who = identity(config, choices)
    return config, who.name, dict(who.values)


def test_there_is_a_sweep_for_what_the_papers_report() -> None:
    assert [file.stem for file in FILES] == sorted([*LADDERS, *HIFIC, *OTHERS])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_sweep_is_valid(file: Path) -> None:
    sweep = read(file.stem)
    assert sweeps.schema_violations_from_proposed_config(sweep) == []
    assert f"wandb sweep sweeps/{file.name}" in file.read_text() and sweep["name"] == file.stem
    # W&B's own search goes through all points of a grid, each once.
    if sweep["method"] == "grid":
        ((key, parameter),) = sweep["parameters"].items()
        assert [point[key]["value"] for point in points(sweep)] == parameter["values"]
        assert f"--array=1-{len(parameter['values'])} " in file.read_text()


@pytest.mark.parametrize("name", LADDERS)
def test_a_ladder_is_the_papers(name: str) -> None:
    """The first and the last point, and those between which the model widens."""
    sweep = read(name)
    model = name.removesuffix("_mse").removesuffix("_ms_ssim")
    narrow = 0 if model in SIX_POINTS else 4 if "mbt" in model else 5  # points at 128 filters
    args, names = points(sweep), []
    for place in sorted({0, max(0, narrow - 1), narrow, len(args) - 1}):
        config, run, _ = configuration(agent_command(sweep, args[place]))
        names.append(run)
        assert config.model.name == (MODELS | SIX_POINTS)[model]
        assert config.experiment_name == model
        assert list(config.logger) == ["wandb"] and config.logger.wandb.project == sweep["project"]
        assert config.loss.distortion.path.endswith("ms_ssim" if "ms_ssim" in name else "mse_255")
        assert config.loss.lmbda == config.model.lmbda == config.ladder[place]
        assert (128 if place < narrow else 192) == config.model.N
    # All of the ladder, and nothing that it lacks; a run directory a point.
    assert sweep["parameters"]["model.lmbda"]["values"] == list(config.ladder)[: 6 if model in SIX_POINTS else None]
    assert len(set(names)) == len(names)


def value_at(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = config[part]
    return config


@pytest.mark.parametrize("name", HIFIC)
def test_hific_has_its_rates(name: str) -> None:
    sweep, (asked, two_stages) = read(name), HIFIC[name]
    found = [configuration(agent_command(sweep, args)) for args in points(sweep)]
    assert [config.target_bpp for config, _, _ in found] == [0.14, 0.30, 0.45]
    assert len({run for _, run, _ in found}) == 3
    for config, _, _ in found:
        assert (config.adversarial is not None) == (config.first_stage is not None) == two_stages
        expected = {"model.name": "hific"} | ({} if name == "hific_mean_scale" else {"model.norm": "channel"}) | asked
        assert {key: value_at(config, key) for key in expected} == expected
        if name not in ("hific_no_lpips", "hific_mean_scale"):
            assert config.loss.perceptual_weight == 1


def test_beta_goes_by_the_official_codes_steps() -> None:
    sweep = read("hific_beta")
    found = [configuration(agent_command(sweep, args))[0] for args in points(sweep)]
    betas = [config.adversarial.beta for config in found]
    assert betas == pytest.approx([0.1 * 1.5**x for x in range(-2, 4)], rel=1e-3) and 0.15 in betas
    assert {config.target_bpp for config in found} == {0.14}


def test_a_search_asks_for_runs_that_differ_by_what_it_searches() -> None:
    sweep = read("mean_scale_bayes")
    found = [configuration(agent_command(sweep, args)) for args in points(sweep)]
    assert len({run for _, run, _ in found}) == NUM_OF_SEARCH
    for config, _, _ in found:
        assert 1e-4 <= config.optim.lr <= 5e-3 and config.optim.clip_norm in (0.3, 1.0, 3.0) and config.steps == 20_000


@pytest.mark.parametrize("name", OF_EACH_KIND)
def test_an_agent_that_goes_on_with_a_point_asks_for_the_same_run(name: str) -> None:
    """It gives the whole configuration, and what W&B keeps beside it, in place of what was swept."""
    sweep = read(name)
    args = points(sweep)[-1]
    config, run, values = configuration(agent_command(sweep, args))
    whole = {"_wandb": {"cli_version": "0.31.0", "t": {"1": [1, 5]}}, **plain(config)}
    again = agent_command(sweep, {key: {"value": value} for key, value in whole.items()} | args)
    assert configuration(again)[1:] == (run, values)
