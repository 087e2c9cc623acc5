"""A report as the data of its page: plain values alone, numbers rounded to what is shown."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from codec.report.comparison import Comparison
from codec.report.curves import Curve
from codec.report.doctor import diagnose
from codec.report.points import QUANTITIES, CurvePoint, setting_label
from codec.report.runs_of import Run, command_of, differences
from codec.report.savings import Saving
from codec.report.style import Style

Savings = Mapping[tuple[int, int], Saving]
OF_ROWS = {
    "bpp": "file_bpp", "psnr": "psnr", "ms_ssim_db": "ms_ssim_db", "lpips": "lpips", "niqe": "niqe",
    "encode_seconds": "encode_seconds", "decode_seconds": "decode_seconds",
}  # fmt: skip

SECONDS = [f"{way}_{part}seconds" for way in ("encode", "decode") for part in ("", "transform_", "entropy_", "file_")]


@dataclass(frozen=True)
class Report:
    """All that a page shows.

    curves: of all sets. styles: by name. savings: by set and quantity, by places among the curves of the set. made: date,
    version and command of the report.
    """

    title: str
    curves: list[Curve]
    styles: dict[str, Style]
    savings: Mapping[str, Mapping[str, Savings]]
    runs: list[Run]
    comparison: Comparison
    made: dict[str, str]

    def of_set(self, dataset: str) -> list[Curve]:
        """The curves of a set."""
        return [curve for curve in self.curves if curve.dataset == dataset]

    @property
    def sets(self) -> list[str]:
        """The names of all sets."""
        return list(dict.fromkeys(curve.dataset for curve in self.curves))


def rounded(value: float | None) -> float | None:
    """Six significant digits; None for what is not finite, of which JSON knows nothing."""
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None


def _namesakes(curves: Sequence[Curve]) -> dict[str, dict[str | None, str]]:
    """By name of a picture, the sizes of all pictures that were measured under it, by SHA-256: more than one are not the same.

    One whose SHA-256 no results say is the only one of its name, or not told apart.
    """
    found: dict[str, dict[str | None, str]] = {}
    for row in (row for curve in curves for point in curve.points for row in point.rows):
        found.setdefault(row.name, {})[row.picture_sha256] = f"{row.width}×{row.height}"
    return {name: {sha: size for sha, size in of.items() if sha is not None} or of for name, of in found.items()}


def _point(point: CurvePoint, pictures: Mapping[str, Mapping[str | None, str]], runs: Sequence[Run]) -> dict[str, Any]:
    rows = {row.name: row for row in point.rows}
    columns = {
        name: [rounded(getattr(rows[picture], column)) if picture in rows else None for picture in pictures]
        for name, column in OF_ROWS.items()
    }
    failed = {row.name: row.failed for row in point.rows if row.failed is not None}
    known = {row.name: row.picture_sha256 for row in point.rows if len(pictures[row.name]) > 1 and row.picture_sha256}
    place = next((k for k, run in enumerate(runs) if run is point.run), None)
    return {
        "label": point.label, "values": {name: rounded(value) for name, value in point.values.items()},
        "rates": {name: rounded(rate) for name, rate in point.rates.items()},
        "told": point.told, "target": point.of_target, "run": place, "pictures": len(rows), "failed": failed,
        "namesakes": {name: list(pictures[name]).index(sha) for name, sha in known.items()},
        "rows": {name: column for name, column in columns.items() if any(value is not None for value in column)},
    }  # fmt: skip


def _saving(place: tuple[int, int], found: Saving) -> dict[str, Any]:
    shown: dict[str, Any] = {"anchor": place[0], "codec": place[1]}
    if found.rate is None:
        return shown | {"why": found.why}
    shown |= {"percent": rounded(found.rate.percent), "from": rounded(found.rate.interval[0])}
    shown |= {"to": rounded(found.rate.interval[1]), "overlap": rounded(found.rate.overlap), "told": found.told}
    shown |= {"gain": rounded(found.gain)}
    if found.methods_differ:
        shown["methods"] = {method: rounded(percent) for method, percent in found.percents.items()}
    if found.interval is not None:
        shown |= {"low": rounded(found.interval.low), "high": rounded(found.interval.high), "n": found.interval.num_pictures}
    return shown


def _costs(curve: Curve) -> dict[str, float | None]:
    """Seconds a megapixel, whole and by part, and what a trained codec takes; of the point in the middle."""
    known = [(point, point.measured) for point in curve.points if point.measured is not None and "bpp" in point.values]
    if not known:
        return {}
    point, of = known[len(known) // 2]
    results = of.results
    measured = next(p for p in results.points if p.images is point.rows)
    seconds = {name: measured.seconds_per_megapixel(name) for name in SECONDS}
    return {name: rounded(value) for name, value in (seconds | results.costs).items() if value is not None}


def _set(report: Report, dataset: str) -> dict[str, Any]:
    curves = report.of_set(dataset)
    pictures = _namesakes(curves)
    return {
        "name": dataset, "pictures": list(pictures), "sizes": [list(of.values()) for of in pictures.values()],
        "curves": [
            {
                "name": curve.name, "full": curve.full_name, "kind": curve.kind, "source": curve.source, "shown": curve.shown,
                "missing": curve.missing, "over": curve.over, "networks": curve.networks, "not_computed": curve.not_computed,
                "costs": _costs(curve), "style": report.styles[curve.name]._asdict(),
                "points": [_point(point, pictures, report.runs) for point in curve.points],
            }
            for curve in curves
        ],
        "savings": {
            quantity: [_saving(place, saving) for place, saving in found.items()]
            for quantity, found in report.savings[dataset].items()
        },
    }  # fmt: skip


def _run(run: Run, report: Report) -> dict[str, Any]:
    own = [(curve, point) for curve in report.curves for point in curve.points if point.run is run]
    made_by = next((p.measured.results.made_by for _, p in own if p.measured is not None), {})
    name = own[0][0].name if own else run.name
    of = f" of {run.state.steps}" if run.state.steps else ""
    log = {column: [rounded(v) for v in values] for column, values in run.log.items() if any(v is not None for v in values)}
    return {
        "name": name, "style": report.styles[name]._asdict() if name in report.styles else None,
        "folder": str(run.folder.path), "setting": setting_label(run.setting), "status": run.state.status,
        "step": f"{run.state.step}{of}", "why": run.state.why, "command": command_of(run), "log": log,
        "versions": run.facts.get("versions", {}), "commit": run.facts.get("git_commit"), "host": run.facts.get("host", {}),
        "device": made_by.get("device"), "bundle": made_by.get("bundle"),
        "findings": [finding._asdict() for finding in diagnose(run.folder)],
    }  # fmt: skip


def payload(report: Report) -> dict[str, Any]:
    """The data of the page of a report."""
    return {
        "title": report.title, "made": report.made, "quantities": QUANTITIES,
        "sets": [_set(report, dataset) for dataset in report.sets],
        "runs": [_run(run, report) for run in report.runs],
        "differences": {
            key: ["—" if value is None else str(value) for value in values] for key, values in differences(report.runs).items()
        },
        "comparison": asdict(report.comparison) | {"fidelity": rounded(report.comparison.fidelity)},
    }  # fmt: skip
