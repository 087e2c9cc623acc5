"""Codecs as curves: which points belong together, what each has, and which are missing."""

import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from codec.evaluation.results import SamePictures
from codec.metrics.published import FEW, Published, published
from codec.report.points import SHORT, CurvePoint, measured_point, of_one_network, refused, same_pictures_of, setting_label
from codec.report.runs_of import Run
from codec.report.sources import SHIPPED, Measured, Sources, is_learned, shipped_bundles
from codec.runs.validations import Validated, validated
from codec.types import printable

LESS_IS_BETTER = ("lpips", "fid", "kid")
KINDS = ("trained", "classical", "foreign", "published")  # foreign: of a file in CompressAI's layout
NO_VARIANT = ("logger", "run_dir", "test", "trainer", "retry", "val_every", "save_every", "log_every")  # nodes of a run
FOLLOWING = {"data.seed", "schedule.steps"}  # keys that follow others
LEVELS = "levels=several"  # a variant's name, beside codecs of one rate


@dataclass(frozen=True)
class Curve:
    """A codec on a set: its points by rate, in full and short name, of one of KINDS.

    missing: points without figures, each with why. shown: whether it is drawn before anybody asks. over: by quantity, which
    pictures its means are over, where those are not all. networks: of LPIPS, FID and KID, where not the published ones.
    not_computed: why a quantity is missing, by what it is called.
    """

    name: str
    full_name: str
    dataset: str
    kind: str
    source: str
    points: list[CurvePoint]
    missing: list[str] = field(default_factory=list)
    shown: bool = True
    over: dict[str, str] = field(default_factory=dict)
    networks: dict[str, str] = field(default_factory=dict)
    not_computed: dict[str, str] = field(default_factory=dict)

    def of(self, quantity: str) -> list[tuple[float, float]]:
        """(bpp, quantity) of the finished points that have it; more is better: distances are negated."""
        sign = -1 if quantity in LESS_IS_BETTER else 1
        return [(at[0], sign * at[1]) for p in self.points if not p.told and (at := p.at(quantity)) is not None]


def curves_of(sources: Sources, runs: Sequence[Run]) -> list[Curve]:
    """All curves, set by set: what was trained, the classical codecs beside it, what was published on the set."""
    found = []
    waiting = _by_set([run for run in runs if run.state.status != "finished"], sources.sets())
    asked = {name for name in sources.shown if name != SHIPPED} or set(FEW)
    for dataset in dict.fromkeys([*sources.sets(), *waiting]):
        here = [one for one in sources.measured if one.results.dataset == dataset]
        same = same_pictures_of([point for one in here for point in one.results.points])
        measured = _trained(here, runs, waiting.get(dataset, []), dataset, same)
        measured += _classical([one for one in here if not is_learned(one.results)], dataset, same)
        over = {quantity: own.told for quantity, own in same.items() if own.told}
        found += [replace(curve, over=over) for curve in measured]
        found += [_of_others(curve, "foreign") for curve in sources.foreign if curve.dataset == dataset]
        found += [_of_others(curve, "published", name in asked) for name, curve in published(dataset).items()]
    return _shortened(_numbered(found))


def _by_set(waiting: Sequence[Run], measured: Sequence[str]) -> dict[str, list[Run]]:
    """Runs by the set that they will be measured on; those that have not begun say none, and go where the others go."""
    found: dict[str, list[Run]] = {}
    for run in waiting:
        found.setdefault(set_of(run), []).append(run)
    silent = found.pop("", [])
    if silent and (others := [*found, *measured]):
        found.setdefault(max(others, key=others.count), []).extend(silent)
    return found


def _numbered(curves: Sequence[Curve]) -> list[Curve]:
    """Those of one set and name told apart: as of two files of results."""
    kept: list[Curve] = []
    for curve in curves:
        taken = {one.full_name for one in kept if one.dataset == curve.dataset}
        names = (f"{curve.full_name} ({number})" if number > 1 else curve.full_name for number in itertools.count(1))
        name = next(name for name in names if name not in taken)
        kept.append(curve if name == curve.full_name else replace(curve, name=name, full_name=name))
    return kept


def _points(one: Measured, run: Run | None, same: Mapping[str, SamePictures]) -> list[CurvePoint]:
    """Those that have means, or say why pictures failed."""
    points = [measured_point(point, same, run, one) for point in one.results.points]
    return [point for point in points if "bpp" in point.values or any(row.failed is not None for row in point.rows)]


def _not_computed(measured: Sequence[Measured]) -> dict[str, str]:
    """Why quantities are missing, by what they are called; of rates a curve's missing points say it."""
    found: dict[str, list[str]] = {}
    for one in measured:
        for name, reason in one.results.not_computed.items():
            if name != "file_bpp":
                found.setdefault(name.upper().replace("_", "-"), []).append(reason)
    return {name: "; ".join(dict.fromkeys(reasons)) for name, reasons in found.items()}


class Entry(NamedTuple):
    """A run or results that give points to a curve. missing: what there is no point of, and why. measured: the results."""

    name: str
    setting: dict[str, Any]
    points: list[CurvePoint]
    run: Run | None
    source: str = ""
    missing: str = ""
    measured: Measured | None = None


def _trained(
    measured: Sequence[Measured], runs: Sequence[Run], waiting: Sequence[Run], dataset: str, same: Mapping[str, SamePictures]
) -> list[Curve]:
    """Runs of one name are one curve over λ; where two have the same λ, one for each value of what else differs in them.

    Results that no run has are told apart by their folders. measured: of the set called dataset, by any codec. runs: all.
    waiting: those that are not finished and go to the set. same: see measured_point.
    """
    by_folder = {run.folder.path: run for run in runs}
    entries = []
    for one in measured:
        if is_learned(one.results):
            run = None if one.run is None else by_folder.get(one.run.path)
            points = _points(one, run, same)
            setting = points[0].setting if points else {}
            entries.append(Entry(one.results.name, setting, points, run, one.results.description, measured=one))
    has_results = [entry.run for entry in entries]  # as of a run that was stopped while classical codecs were measured
    for run in waiting:
        if not any(run is other for other in has_results):
            entries.append(_half_finished(run, dataset, [other.name for other in runs if set_of(other) == dataset]))
    curves = []
    for name in dict.fromkeys(entry.name for entry in entries):
        for variant, members in _variants([entry for entry in entries if entry.name == name]).items():
            points = sorted((point for entry in members for point in entry.points), key=lambda point: point.rate)
            points, networks, others = of_one_network(points)
            missing = [*(entry.missing for entry in members if entry.missing), *refused(points), *others]
            lacking = _not_computed([entry.measured for entry in members if entry.measured is not None])
            full, source = f"{name} {variant}".strip(), next((entry.source for entry in members if entry.source), "")
            if points or missing:
                curves.append(
                    Curve(full, full, dataset, "trained", source, points, missing, networks=networks, not_computed=lacking)
                )
    return curves


def _differing(entries: Sequence[Entry]) -> set[str]:
    """The keys in which the configurations of runs of one setting differ, but for those that change no figure."""
    configs = [entry.run.values for entry in entries if entry.run is not None]
    keys = {key for config in configs for key in config if key.split(".")[0] not in NO_VARIANT}
    return {key for key in keys if len({repr(config.get(key)) for config in configs}) > 1}


def _variants(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """The entries of a name by what differs between those of the same setting: seeds, widths, steps.

    A codec with several rates is a curve alone, whatever its rates are.
    """
    of_setting: dict[str, list[Entry]] = {}
    for entry in entries:
        of_setting.setdefault(_alike(entry), []).append(entry)
    mixed = LEVELS in of_setting and len(of_setting) > 1
    keys = {key for same in of_setting.values() for key in _differing(same)}
    told = sorted(keys - FOLLOWING) or sorted(keys)
    folders = any(len(same) > 1 and any(entry.run is None for entry in same) for same in of_setting.values())
    variants: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.run is None:
            label = _folder_of(entry, entries) if folders else ""
        else:
            values = entry.run.values
            label = " ".join(f"{SHORT.get(key, key.removeprefix('model.'))}={values.get(key)}" for key in told if key in values)
        if mixed and _alike(entry) == LEVELS:
            label = f"{LEVELS} {label}".strip()
        variants.setdefault(label, []).append(entry)
    return variants


def _alike(entry: Entry) -> str:
    """What two points of one curve do not share: their setting, or that they are codecs with several rates."""
    return LEVELS if "level" in entry.setting else repr(sorted(entry.setting.items()))


def _folder_of(entry: Entry, entries: Sequence[Entry]) -> str:
    """The folder by which results that no run has are told from the others of their name."""
    folders = [_folder(other) for other in entries if other.run is None]
    below = _folder(entry).relative_to(os.path.commonpath(folders)).parts
    return f"from={printable(below[0] if below else folders[0].name)}"


def _folder(entry: Entry) -> Path:
    return (Path() if entry.measured is None else entry.measured.path).absolute().parent


def set_of(run: Run, node: str = "test") -> str:
    """The name of the set that a run is to be measured on; with node="data.val", of the one that it validates on.

    Empty for one that has not begun.
    """
    if not run.values:
        return ""
    target = str(run.values.get(f"{node}._target_", "")).rpartition(".")[2]
    of_itself = Path(str(run.values.get(f"{node}.root"))).name if target == "folder" else target
    return str(run.values.get(f"{node}.name") or of_itself)


def _half_finished(run: Run, dataset: str, names: Sequence[str]) -> Entry:
    """Of a run that is not finished: the last validation, where it was on these pictures, and what is missing.

    names: of the runs of the set; one that has not begun is of the name that most of them have.
    """
    state, several = run.state, any(key.startswith("levels.") for key in run.values)
    setting = {"level": "several"} if several else run.setting
    of = f" of {state.steps}" if state.steps else ""
    told = f"failed: {state.why}" if state.status == "failed" else f"{state.status} at step {state.step}{of}"
    label, points = setting_label(setting), []
    if set_of(run, "data.val") == dataset:
        for level, bpp, psnr in _last_validation(run):
            here = run.setting if level is None else {"level": level}
            values, words = {"bpp": bpp, "psnr": psnr}, f"{told}; estimated rate of its last validation"
            points.append(CurvePoint(setting_label(here), values, (), here, run, words))
    begun = bool(run.values)
    name = run.name if begun or not names else max(names, key=names.count)
    return Entry(name, setting, points, run, "", f"{label if begun else printable(run.folder.path.name)}: {told}")


def _last_validation(run: Run) -> tuple[Validated, ...]:
    rows = zip(*run.log.values(), strict=True)
    found = [points for row in rows if (points := validated(dict(zip(run.log, row, strict=True))))]
    return found[-1] if found else ()


def _classical(measured: Sequence[Measured], dataset: str, same: Mapping[str, SamePictures]) -> list[Curve]:
    """Each once, however many runs have it beside them; one of other figures, as of another library, has a name of its own."""
    curves: dict[str, Curve] = {}
    for one in measured:
        results = one.results
        points = sorted(_points(one, None, same), key=lambda point: point.rate)
        name, number = results.name, 1
        while name in curves and [point.values for point in curves[name].points] != [point.values for point in points]:
            number += 1
            name = f"{results.name} ({number})"
        points, networks, _ = of_one_network(points)
        missing = refused(points) if points else [results.not_computed.get("file_bpp", "no rate")]
        curve = Curve(name, name, dataset, "classical", results.description, points, missing)
        curves.setdefault(name, replace(curve, networks=networks, not_computed=_not_computed([one])))
    return list(curves.values())


def _of_others(curve: Published, kind: str, shown: bool = True) -> Curve:
    source = curve.source + ("; MS-SSIM from 0 to 1 there, in dB here" if curve.converted else "")
    points = [CurvePoint("", dict(values)) for values in curve.points]
    name = f"{curve.name}, published" if kind == "published" else curve.name
    return Curve(name, name, curve.dataset, kind, source, points, [], shown)


def _shortened(curves: list[Curve]) -> list[Curve]:
    """With short names where they stay different: the experiment alone, or the model of the small default one."""
    short = {curve.full_name: _short(curve) for curve in curves if curve.kind == "trained"}
    chosen = {name: word for name, word in short.items() if list(short.values()).count(word) == 1}
    return [replace(c, name=chosen.get(c.full_name, c.name)) if c.kind == "trained" else c for c in curves]


def _short(curve: Curve) -> str:
    words = curve.full_name.split(" ")
    if _is_shipped(curve):
        return " ".join(["the shipped codec", *(word for word in words if "=" in word)])
    if len(words) > 1 and "=" not in words[1]:
        del words[1 if words[0] != "quickstart" else 0]
    return " ".join(words)


def _is_shipped(curve: Curve) -> bool:
    """Whether it is the codec that ships, by the fingerprint of its bundle: an experiment has any name."""
    made_by = {None if p.measured is None else p.measured.results.made_by.get("bundle") for p in curve.points}
    return len(made_by) == 1 and made_by <= shipped_bundles()
