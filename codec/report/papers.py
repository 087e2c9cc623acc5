"""Tables of a report for papers: Markdown and LaTeX, the latter by \\usepackage{booktabs} and nothing else."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from codec.atomic import write_atomically
from codec.report.curves import Curve
from codec.report.payload import Savings
from codec.report.points import QUANTITIES
from codec.report.savings import Saving

MINUS = "−"
LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "λ": r"$\lambda$", "−": "$-$", "–": "--", "×": r"$\times$", "é": r"\'e", "ø": r"\o{}", "μ": r"$\mu$", "|": r"\textbar{}",
    "β": r"$\beta$", "[": "{[}", "*": "{*}",  # which a row may begin with: TeX takes both for part of the \\ before it
}  # fmt: skip


class Table(NamedTuple):
    """Cells as text; the first column is one of words, the others of numbers."""

    caption: str
    head: list[str]
    rows: list[list[str]]


def latex_text(text: str) -> str:
    """The text as LaTeX prints it; signs that it has no word for are a question mark."""
    return "".join(LATEX.get(sign, sign if sign.isascii() else "?") for sign in text)


def as_markdown(table: Table) -> str:
    """A table as GitHub reads it."""

    def line(cells: Sequence[str]) -> str:
        safe = (cell.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ") for cell in cells)
        return f"| {' | '.join(safe)} |"

    rule = line(["---", *["---:"] * (len(table.head) - 1)])
    return "\n".join([f"**{table.caption}**", "", line(table.head), rule, *map(line, table.rows), ""])


def as_latex(table: Table) -> str:
    """A table to paste into a paper."""

    def line(cells: Sequence[str]) -> str:
        return " & ".join(map(latex_text, cells)) + r" \\"

    return "\n".join([
        r"% \usepackage{booktabs}", r"\begin{table}", r"  \centering", rf"  \caption{{{latex_text(table.caption)}}}",
        rf"  \begin{{tabular}}{{l{'r' * (len(table.head) - 1)}}}", r"    \toprule", f"    {line(table.head)}", r"    \midrule",
        *(f"    {line(row)}" for row in table.rows), r"    \bottomrule", r"  \end{tabular}", r"\end{table}", "",
    ])  # fmt: skip


def _number(value: float | None, digits: int, sign: str = "") -> str:
    return "–" if value is None else f"{value:{sign}.{digits}f}".replace("-", MINUS)


def _cell(found: Saving | None) -> list[str]:
    if found is None or found.rate is None:
        return ["–"] * 4
    low, high = found.rate.interval
    sure = "–" if found.interval is None else f"{_number(found.interval.low, 1, '+')} to {_number(found.interval.high, 1, '+')}"
    return [_number(found.rate.percent, 1, "+"), sure, _number(found.gain, 2, "+"), f"{low:.1f} to {high:.1f}"]


def savings_table(curves: Sequence[Curve], found: Savings, anchor: int) -> Table:
    """What the shown codecs save over PSNR against the one at the place `anchor`; a dash where that cannot be said."""
    rows = [
        [curve.name, *_cell(found.get((anchor, place)))]
        for place, curve in enumerate(curves)
        if curve.shown and place != anchor and curve.points
    ]
    caption = f"BD-rate on {curves[anchor].dataset} against {curves[anchor].name}, PCHIP; 95 % over pictures"
    return Table(caption, ["codec", "BD-rate %", "95 %", "BD-PSNR dB", "both reach, dB"], rows)


def points_table(curves: Sequence[Curve]) -> Table:
    """The points of the trained codecs."""
    own = [(curve, point) for curve in curves if curve.kind == "trained" for point in curve.points]
    names = [name for name in QUANTITIES if any(name in point.values for _, point in own)]
    digits = {"lpips": 4, "kid": 5}
    fewer = [name for name in names if any(name in point.rates for _, point in own)]  # with a rate of their own beside them
    rows = [
        [curve.name, point.label + (" (not finished)" if point.told else ""), _number(point.values.get("bpp"), 3),
         *(cell for name in names for cell in (
             *([_number((point.at(name) or [None])[0], 3)] if name in fewer else []),
             _number(point.values.get(name), digits.get(name, 2)),
         ))]
        for curve, point in own
    ]  # fmt: skip
    head = [word for name in names for word in (*(["bpp there"] if name in fewer else []), QUANTITIES[name])]
    told = "".join(f"; {QUANTITIES[name]} {text}" for name, text in own[0][0].over.items() if name in names)
    return Table(f"Trained codecs on {curves[0].dataset}{told}", ["codec", "at", "bpp", *head], rows)


def write_tables(curves: Sequence[Curve], found: Savings, folder: Path) -> list[Path]:
    """Write the tables of a set to folder/SET_points and folder/SET_savings, each as .md and .tex."""
    tables = {"points": [points_table(curves)]} if any(curve.kind == "trained" and curve.points for curve in curves) else {}
    anchors = [place for place, curve in enumerate(curves) if curve.shown and curve.kind != "trained" and curve.of("psnr")]
    if anchors:
        tables["savings"] = [savings_table(curves, found, place) for place in anchors]
    written = []
    for name, some in tables.items():
        for suffix, write in (("md", as_markdown), ("tex", as_latex)):
            written.append(folder / f"{curves[0].dataset}_{name}.{suffix}")
            written[-1].parent.mkdir(parents=True, exist_ok=True)
            write_atomically(written[-1], "\n".join(map(write, some)).encode())
    return written
