"""Folders of runs that nobody trained, with results on small pictures, for tests of reports."""

import json
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
import yaml
from conftest import picture

from codec.evaluation.classical import measure_classical
from codec.evaluation.measure import evaluate
from codec.evaluation.results import ImageRow, Point, Results
from codec.files.bundle import SHIPPED
from data.testsets import TestImage, TestSet

SIZES = ((96, 64), (64, 96), (80, 80), (64, 64), (72, 90))
PICTURES = [TestImage(f"scene{k}", partial(picture, h, w, k)) for k, (h, w) in enumerate(SIZES)]
SET = TestSet("scenes", PICTURES)
LAMBDAS = (0.0018, 0.0067, 0.025, 0.0932, 0.18)


def find_set(name: str) -> TestSet:
    assert name == SET.name
    return SET


def made_up(name: str, lmbda: float, gain: float = 0.0) -> Results:
    """Rates that grow by half with each λ, and 2 dB; `gain` in dB, a little more on each further picture."""
    place = LAMBDAS.index(lmbda)
    rows = [
        ImageRow(
            one.name, SIZES[k][1], SIZES[k][0], file_bpp=0.2 * 1.5**place * (1 + 0.1 * k),
            psnr=26 + 2 * place - k + gain * (1 + k / 5), estimated_bpp=0.2,
            ms_ssim=1 - 0.1 / (1 + place), ms_ssim_db=10 + place, encode_seconds=0.1, decode_seconds=0.2,
            lpips=0.4 / (1 + place) + 0.01 * k,
        )
        for k, one in enumerate(PICTURES)
    ]  # fmt: skip
    return Results(name, "made up", SET.name, [Point({"lmbda": lmbda}, rows)])


@cache
def of_shipped(files: Path) -> Results:
    """Measured: the shipped codec on the pictures."""
    with torch.inference_mode():
        return evaluate(SHIPPED, SET, files, levels=2)


@cache
def jpeg() -> Results:
    return measure_classical("jpeg", SET)


def write_run(folder: Path, experiment: str, lmbda: float, results: Results | None, status: str = "finished", **model) -> Path:
    """A run's folder: configuration, state, facts, log, and results where it has some."""
    config = {
        "experiment_name": experiment, "model": {"name": "hyperprior", "lmbda": lmbda, "N": 8, **model}, "target_bpp": None,
        "seed": 1, "data": {"root": "${oc.env:HOME}", "seed": 1, "val": {"_target_": "data.testsets.folder"}},
        "logger": {"wandb": {"api_key": "a-secret", "entity": "${oc.env:WANDB_API_KEY}"}},
        "test": {"_target_": "data.testsets.folder", "root": f"/somewhere/{SET.name}", "name": None},
    }  # fmt: skip
    (folder / "results").mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    state = {"status": status, "step": 40 if status == "failed" else 100, "steps": 100, "updated": 1.0}
    (folder / "state.json").write_text(json.dumps(state | ({"why": "no room <b>left</b>"} if status == "failed" else {})))
    error = 9.0 if status == "failed" else 0.1  # one of them for the doctor
    facts = {"command": ["train", f"experiment={experiment}", f"model.lmbda={lmbda}", "logger.wandb.api_key=a-secret"]}
    (folder / "run.json").write_text(
        json.dumps(facts | {"versions": {"torch": "2"}, "git_commit": "0" * 40, "solved_quantile_error": error})
    )
    steps = range(10, 101, 10)
    lines = [f"{step},{3 - step / 50},{0.5},{0.6 - step / 500},{0.4},{'' if step % 50 else 1.0}" for step in steps]
    log = "\n".join(["step,train/loss,train/bpp,train/quantized_bpp,train/target_bpp,val/loss", *lines, "110,1"])
    (folder / "metrics.csv").write_text(log)  # its last line was cut
    if results is not None:
        results.write(folder / "results" / SET.name)
    return folder


def results_of(folder: Path, name: str, gain: float, changed: dict[int, dict[str, Any]]) -> None:
    """Results of five rates; changed: by the place of a picture, columns of its rows."""
    folder.mkdir(parents=True)
    for place, lmbda in enumerate(LAMBDAS):
        results = made_up(name, lmbda, gain)
        rows = results.points[0].images
        rows[:] = [replace(row, **changed.get(k, {})) for k, row in enumerate(rows)]
        results.write(folder / f"{place}")


def write_runs(root: Path) -> Path:
    """Two codecs at five rates, one of them called <script>, beside JPEG; the shipped codec with its files; one that failed."""
    for place, lmbda in enumerate(LAMBDAS):
        first = write_run(root / "plain" / str(place), "plain", lmbda, made_up("plain hyperprior", lmbda))
        jpeg().write(first / "results" / f"{SET.name}_jpeg")
        name = "<script>alert(1)</script>"
        write_run(root / "odd" / str(place), name, lmbda, made_up(f"{name} hyperprior", lmbda, 0.5 if place else -0.4))
    write_run(root / "plain" / "failed", "plain", 0.001, None, "failed")
    shipped = root / "files"
    shipped.mkdir()
    results = of_shipped(root / "files" / "results" / SET.name)
    results = replace(results, name="measured mean_scale", made_by={})  # found by its description; not called the shipped one
    results.write(shipped / "results" / SET.name)
    return root
