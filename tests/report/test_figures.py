"""Figures for papers: all that is measured is inside, every codec in the legend, names in any script."""

import warnings
from pathlib import Path

import matplotlib.figure
import pytest
from made_up_results import learned
from matplotlib.font_manager import findfont, fontManager

from codec.report import lettering
from codec.report.curves import Curve
from codec.report.figures import write_figures
from codec.report.plots import write_rd_plot
from codec.report.points import CurvePoint
from codec.report.style import styles_of


def figures(name: str, out: Path, **values: list[float]) -> list[Path]:
    """Those of a codec with these quantities at some rates."""
    columns = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    points = [CurvePoint("", {"bpp": 0.1 * k, **row}) for k, row in enumerate(columns, start=1)]
    curve = Curve(name, name, "set", "trained", "", points)
    return write_figures([curve], styles_of([curve]), out)


@pytest.mark.parametrize("quantity", ["kid", "fid"])
def test_an_estimate_below_zero_is_inside_its_figure(quantity, tmp_path, monkeypatch):
    """KID's is without bias, and of a codec without loss as often below 0 as above; what is above begins at 0."""
    limits, save = [], matplotlib.figure.Figure.savefig

    def saved(figure: matplotlib.figure.Figure, *args, **kwargs) -> None:
        limits.append(figure.axes[0].get_ylim())
        save(figure, *args, **kwargs)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", saved)
    figures("codec", tmp_path, **{quantity: [0.004, 0.001, -0.0005]})
    assert limits[0][0] < -0.0005
    limits.clear()
    figures("codec", tmp_path, **{quantity: [0.004, 0.001, 0.0001]})
    assert limits[0][0] == 0


def test_a_name_that_begins_with_an_underscore_is_in_the_legend(tmp_path, monkeypatch):
    written = figures("_mine", tmp_path, psnr=[30.0, 31.0])
    assert "_mine" in next(path for path in written if path.suffix == ".svg").read_text()
    shown = []
    monkeypatch.setattr("codec.report.plots.legend", lambda axes, entries, **look: shown.extend(name for _, name in entries))
    write_rd_plot([learned("_mine", 0.01, 0.2, 26.0)], [], tmp_path / "plot.png")
    assert shown == ["_mine"]


def test_signs_that_no_font_has_are_told_in_one_line(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(fontManager, "ttflist", [font for font in fontManager.ttflist if font.name == lettering.FONT])
    lettering._fonts_for.cache_clear()
    sign = "中"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures(f"a {sign}", tmp_path, psnr=[30.0, 31.0])
        write_rd_plot([learned(f"a {sign}", 0.01, 0.2, 26.0)], [], tmp_path / "plot.png")
    told = capfd.readouterr()
    assert told.out.count("no font on this machine has") == 1 and told.out.count("\n") == 1 and told.err == ""


def test_a_font_of_the_machine_is_taken_for_signs_that_the_first_lacks(tmp_path, capfd):
    lettering._fonts_for.cache_clear()
    known = {font.name: lettering._signs(font.fname) for font in fontManager.ttflist}
    elsewhere = frozenset.union(*known.values()) - lettering._signs(str(findfont(lettering.FONT)))
    sign = next(chr(code) for code in sorted(elsewhere) if chr(code).isprintable())
    with lettering.lettering([f"a {sign}"]):
        assert any(ord(sign) in known[name] for name in matplotlib.rcParams["font.family"][1:])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            figures(f"a {sign}", tmp_path, psnr=[30.0, 31.0])
    assert capfd.readouterr().out == ""
