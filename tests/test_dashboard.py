"""The dashboard: what it names is what runs log, and the published curves are runs beside them; all without a network."""

import importlib.util
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import yaml
from conftest import REPOSITORY
from tiny_second_stage import SECOND_STAGE, save_first_stage
from wandb_file import history_rows, read_records

from codec.cli import main
from codec.metrics.published import published
from codec.models import MODELS

KEYS = ("xAxis", "yAxis", "metrics", "mediaKeys")


@pytest.fixture(scope="module")
def dashboard() -> Any:
    pytest.importorskip("wandb_workspaces")
    spec = importlib.util.spec_from_file_location("dashboard", REPOSITORY / "sweeps" / "dashboard.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def logged(tmp_path_factory) -> set[str]:
    """The names of all that a run of HiFiC's second stage has in W&B: steered, perceptual and against a discriminator."""
    folder = tmp_path_factory.mktemp("run")
    save_first_stage(folder / "first.safetensors")
    where = [f"init_from={folder / 'first.safetensors'}", f"run_dir={folder / 'run'}"]
    assert main(["train", *SECOND_STAGE, *where, "logger=wandb", "logger.wandb.offline=true"]) == 0
    (path,) = (folder / "run").glob("wandb/offline-run-*/*.wandb")
    records = list(read_records(path))
    summary = [r.summary for r in records if r.WhichOneof("record_type") == "summary"]
    return {name for row in history_rows(records) for name in row} | {
        item.key or item.nested_key[0] for update in summary for item in update.update
    }


def named_in(node: Any) -> Iterator[str]:
    """The metrics that panels of a specification name."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in KEYS and value:
                yield from (name.removeprefix("summary:") for name in ([value] if isinstance(value, str) else value))
            else:
                yield from named_in(value)
    elif isinstance(node, list):
        for value in node:
            yield from named_in(value)


def tables_in(text: str) -> set[str]:
    return {"test/photographs/pictures"} if "test/photographs/pictures" in text else set()


def test_every_metric_that_it_names_is_logged(dashboard, logged):
    lpips = "lpips_squeeze_random"  # as the small sizes have it
    workspace = dashboard.workspace("entity", "codec", "photographs", lpips)._to_model().model_dump_json(by_alias=True)
    report = dashboard.report(None, None, "photographs", lpips)._to_model().model_dump_json(by_alias=True)
    for text in (workspace, report):
        document = json.loads(text)
        named = set(named_in(json.loads(document["spec"]) if isinstance(document["spec"], str) else document["spec"]))
        named = (named | tables_in(text)) - {"_step", "Step"}
        assert len(named) > 25 and named <= logged, named - logged
        assert {"test/photographs/file_bpp", "train/rate_weight", "train/real_logits", "train/skipped_steps"} <= named
        assert tables_in(text)


def test_lpips_is_called_as_the_papers_run_calls_it(dashboard):
    loss = yaml.safe_load((REPOSITORY / "conf" / "loss" / "perceptual.yaml").read_text())["loss"]
    assert f"lpips_{loss['perceptual']['net']}" == dashboard.LPIPS


def test_the_report_has_a_set_of_runs_for_each_model_and_one_for_what_was_published(dashboard):
    assert set(dashboard.MODELS) == set(MODELS)
    first = next(block for block in dashboard.report(None, None, "kodak").blocks if hasattr(block, "runsets"))
    assert [runs.name for runs in first.runsets] == [*dashboard.MODELS, "published"]


def test_published_points_are_runs_of_a_type_of_their_own(dashboard, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    entries = {
        name: replace(published("kodak")[name], points=published("kodak")[name].points[:1]) for name in ("SegPIC", "HiFiC")
    }
    monkeypatch.setattr(dashboard, "published", lambda dataset: entries)
    assert [dashboard.upload_published(None, "codec", "kodak") for _ in range(2)] == [2, 2]
    found: dict[str, tuple[str, dict[str, float]]] = {}
    for path in tmp_path.glob("wandb/offline-run-*/*.wandb"):
        records = list(read_records(path))
        (run,) = [r.run for r in records if r.WhichOneof("record_type") == "run"]
        assert run.job_type == "published" and set(run.tags) == {"kodak", "published"}
        summary = [r.summary for r in records if r.WhichOneof("record_type") == "summary"]
        items = [(item.key or item.nested_key[0], json.loads(item.value_json)) for update in summary for item in update.update]
        values = {name: value for name, value in items if name.startswith("test/")}
        assert found.setdefault(run.run_id, (run.run_group, values)) == (run.run_group, values)  # again: the same
    expected = []
    for name, entry in entries.items():
        (point,) = entry.points
        names = {quantity: "file_bpp" if quantity == "bpp" else quantity for quantity in point}
        expected.append((name, {f"test/kodak/{names[quantity]}": value for quantity, value in point.items()}))
    assert "test/kodak/lpips" in expected[1][1]
    assert sorted(found.values(), key=str) == sorted(expected, key=str)
