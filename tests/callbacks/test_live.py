"""The plot of a training that goes on: a point a validation, whole or not there, from before a stop too."""

from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tiny_training import VAL_EVERY, fit

from codec.callbacks import live
from codec.callbacks.live import DrawLive
from codec.callbacks.progress import ShowProgress
from codec.losses.levels import Ladder
from codec.runs.folder import RunFolder
from codec.runs.tracking import MetricsCsv
from codec.runs.validations import Validated
from codec.types import UserError
from data.folders import list_images


@pytest.fixture
def drawn(monkeypatch):
    """What was drawn, in turn, and by which curves of others."""
    calls, draw = [], live._drawn

    def noting(points, dataset, published):
        calls.append((dict(points), dataset, set(published)))
        return draw(points, dataset, published)

    monkeypatch.setattr(live, "_drawn", noting)
    return calls


def train(folder, steps):
    run = RunFolder(folder)
    return fit(run, steps, loggers=[MetricsCsv(run.metrics_file)], extra=[DrawLive()])


def test_each_validation_is_a_point_and_a_resumed_run_has_those_from_before(tmp_path, drawn, capsys):
    train(tmp_path, VAL_EVERY)
    train(tmp_path, 3 * VAL_EVERY)
    assert [sorted(points) for points, *_ in drawn] == [[4], [4, 8], [4, 8, 12]]
    assert len({points[4] for points, *_ in drawn}) == 1
    assert drawn[0][1] == "photographs"
    picture = Image.open(tmp_path / "report" / "live.png")
    assert picture.size == (720, 500) and len(np.unique(np.asarray(picture))) > 50
    assert [path.name for path in (tmp_path / "report").iterdir()] == ["live.png"]  # written at once
    with pytest.raises(UserError):
        list_images(tmp_path / "report")
    assert "1 drawn by codec" in capsys.readouterr().out


def test_published_curves_of_the_set_are_there(tmp_path, drawn, monkeypatch):
    monkeypatch.setattr(live, "published_curves", lambda name: {"Theirs": [(0.1, 25.0), (0.5, 30.0)]})
    train(tmp_path, VAL_EVERY)
    assert drawn[0][2] == {"Theirs"}


def test_one_validation_of_no_rate_is_drawn_too():
    assert Image.open(BytesIO(live._drawn({4: [Validated(None, 0.0, 5.0)]}, "a $set", {}))).size == (720, 500)


def test_a_validation_that_is_not_finite_is_not_drawn_and_stops_nothing(tmp_path):
    metrics = {"val/bpp": float("nan"), "val/psnr": float("nan")}
    trainer = SimpleNamespace(
        sanity_checking=False, is_global_zero=True, callback_metrics=metrics, global_step=4, default_root_dir=tmp_path
    )
    DrawLive().on_validation_end(trainer, None)
    assert not list(tmp_path.iterdir())


def test_of_several_rates_each_validation_is_a_curve_of_its_own_levels(tmp_path, drawn, capsys):
    run = RunFolder(tmp_path)
    extra = [DrawLive(), ShowProgress()]
    module = fit(run, VAL_EVERY, loggers=[MetricsCsv(run.metrics_file)], extra=extra, levels=Ladder(6, 0.002, 0.05))
    values, (points, *_) = module.trainer.callback_metrics, drawn[-1]
    assert points[VAL_EVERY] == tuple(
        (level, float(values[f"val/bpp_level_{level}"]), float(values[f"val/psnr_level_{level}"])) for level in (0, 1, 2, 4, 5)
    )
    low, high = points[VAL_EVERY][0], points[VAL_EVERY][-1]
    assert f"{low.bpp:.3f} to {high.bpp:.3f} bpp  {low.psnr:.2f} to {high.psnr:.2f} dB" in capsys.readouterr().out
    np.testing.assert_allclose(live._points_of(run, VAL_EVERY)[VAL_EVERY], points[VAL_EVERY], rtol=1e-5)
