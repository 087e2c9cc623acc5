"""Plots of a measurement: files that open, and codecs that can be told apart."""

from dataclasses import replace

import pytest
from made_up_results import PICTURES, jpeg, learned
from matplotlib.axes import Axes
from PIL import Image

from codec.evaluation.results import ImageRow, Point, Results
from codec.metrics.published import published_curves
from codec.report.plots import SHIPPED_RESULTS, write_rate_plot, write_rd_plot
from codec.runs.folder import RunFolder


@pytest.mark.parametrize("dataset", ["folder", "a set [of mine]"])
def test_the_plot_opens(tmp_path, dataset):
    ours = [learned("sweep", lmbda, bpp, q, dataset) for lmbda, bpp, q in ((0.0018, 0.1, 26.0), (0.0067, 0.2, 28.0))]
    path = tmp_path / "deep" / "rd.png"
    write_rd_plot([*ours, learned("imported", None, 0.15, 27.0, dataset)], [jpeg()], path)
    assert min(Image.open(path).size) > 500
    write_rd_plot(ours, [], path)
    assert min(Image.open(path).size) > 500


def test_codecs_of_one_plot_differ_in_color(tmp_path):
    """Eight codecs, two of them at two seeds."""
    write_rd_plot([learned("a", 0.01, 0.2, 26.0)], [jpeg()], tmp_path / "one.png")
    seeds = [learned(name, 0.01, bpp, 26.0) for name in "ab" for bpp in (0.3, 0.4)]
    write_rd_plot(seeds + [learned(name, 0.01, 0.5, 27.0) for name in "cdefgh"], [jpeg()], tmp_path / "many.png")
    one, many = (set(Image.open(tmp_path / f"{name}.png").convert("RGB").get_flattened_data()) for name in ("one", "many"))
    purple = (148, 103, 189)
    assert purple in many - one


@pytest.mark.parametrize("num", [1, 40])
def test_the_plot_of_a_steered_training_opens(num, tmp_path):
    lines = [f"{10 * k + 10},{1 / (1 + k)},{0.2 if k < 20 else 0.14}" for k in range(num)]
    (tmp_path / "metrics.csv").write_text(
        "\n".join(["step,train/quantized_bpp,train/target_bpp", *lines, f"{10 * num},,", f"{10 * num},0.2,", ""])
    )
    write_rate_plot(RunFolder(tmp_path).log(), tmp_path / "deep" / "rate.png")
    assert Image.open(tmp_path / "deep" / "rate.png").width == 1080


def test_the_plot_of_a_steered_training_of_levels_has_batches_over_their_targets(tmp_path, monkeypatch):
    """Each of two levels is 10 % above its target, so that no batch lies elsewhere."""
    drawn = []
    monkeypatch.setattr(Axes, "plot", lambda self, x, y, *_, **words: drawn.append((words["label"], y)) or [])
    monkeypatch.setattr(Axes, "axhline", lambda self, y, **words: drawn.append((words["label"], y)))
    monkeypatch.setattr(Axes, "legend", lambda self, **_: None)
    targets = [0.14 if k % 2 else 0.45 for k in range(40)]
    log = [{"step": str(k), "train/quantized_bpp": str(1.1 * t), "train/target_bpp": str(t)} for k, t in enumerate(targets)]
    write_rate_plot(log, tmp_path / "rate.png")
    (_, batches), (_, mean), target = drawn
    assert batches == pytest.approx(1.1) and mean == pytest.approx(1.1) and target == ("target, 0.14 to 0.45 bpp in the end", 1)


def test_the_plot_beside_published_curves_opens(tmp_path):
    curve = published_curves("kodak")["Ballé 2018, scale hyperprior"]
    sweep = [learned("codec", lmbda, 0.9 * bpp / 2.5, psnr - 2.5, "kodak") for lmbda, (bpp, psnr) in enumerate(curve)]
    write_rd_plot(sweep, [], tmp_path / "plot.png")
    assert Image.open(tmp_path / "plot.png").width == 1080


def test_a_plot_is_over_the_pictures_of_which_all_have_psnr(tmp_path, monkeypatch):
    import matplotlib.axes

    drawn, titles = [], []
    monkeypatch.setattr(matplotlib.axes.Axes, "plot", lambda axes, *lines, **look: [drawn.append(lines[:2])])
    monkeypatch.setattr("codec.report.plots.legend", lambda *entries, **look: None)
    monkeypatch.setattr(matplotlib.axes.Axes, "set_title", lambda axes, title, **look: titles.append(title))
    rows = [
        [ImageRow(p.name, 64, 64, bpp, 20 + bpp) for p in PICTURES[1:]] + [ImageRow(PICTURES[0].name, 64, 64, 0.1, exact)]
        for bpp, exact in ((1, 90.0), (2, None))
    ]
    webp = Results("WebP", "", "folder", [Point({}, some) for some in rows])
    write_rd_plot([learned("mine", 0.01, 0.2, 26.0)], [webp], tmp_path / "plot.png")
    assert [list(map(float, axis)) for axis in drawn[0]] == [[1, 2], [21, 22]]
    assert titles == ["folder: 4 pictures\nPSNR over 3 of 4 pictures: wide came back exactly somewhere"]


def test_a_codec_that_loses_nothing_has_no_place_in_the_plot(tmp_path):
    rows = [ImageRow(picture.name, 64, 64, 9.0, None) for picture in PICTURES]
    lossless = Results("PNG", "made up", "folder", [Point({}, rows)])
    write_rd_plot([learned("mine", 0.01, 0.2, 26.0)], [lossless], tmp_path / "plot.png")
    write_rd_plot([lossless], [lossless], tmp_path / "lossless.png")
    write_rd_plot([learned("mine", 0.01, 0.2, 26.0)], [], tmp_path / "alone.png")
    assert (tmp_path / "plot.png").read_bytes() == (tmp_path / "alone.png").read_bytes()
    assert min(Image.open(tmp_path / "lossless.png").size) > 500


def test_the_shipped_codec_is_not_beside_itself(tmp_path, monkeypatch):
    colours, plot = [], Axes.plot

    def noting(self, *places, **words):
        colours.append(words.get("color"))
        return plot(self, *places, **words)

    monkeypatch.setattr(Axes, "plot", noting)
    shipped = Results.read(SHIPPED_RESULTS / "kodak.json")
    for codec, beside in ((shipped, False), (replace(shipped, made_by={"bundle": "0123456789abcdef"}), True)):
        colours.clear()
        write_rd_plot([codec], [], tmp_path / "plot.png")
        assert ("crimson" in colours) == beside
