"""What is wrong with a training, and what to do about it: told from what its run left, by any process on any machine.

Each limit is here and nowhere else, beside the reason for it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from codec.evaluation.measure import MAX_OVERHEAD_BYTES
from codec.evaluation.results import Point, Results
from codec.report.runs_of import facts_of
from codec.runs.folder import RunFolder
from codec.types import UserError

MAX_ESTIMATE_GAP = 0.01  # of the payload: what is trained for is not what is written
MIN_Z_SHARE = 0.001  # of the bits: the shipped codec spends 2 % on z
# Logits: a tail ten times as heavy, or as light, as the 1e-9 that is asked for. Of the bundle, which has them solved: those of
# the training are 6 off after its 900 steps by default, at which the validated rate was 0.14 % from the bundle's.
MAX_QUANTILE_ERROR = math.log(10)
MAX_ESCAPES = 0.01  # of a stream's symbols: each costs twenty bits or so
MAX_SKIPPED = 0.001  # of the steps
CHANCE, WINNING = 0.55, 0.95  # of what a discriminator sees, told rightly
MAX_TARGET_GAP = 0.1  # of the target
Z_STRIDE, MIN_Z_SIDE = 64, 3  # pixels to an element of z; fewer of them than 3 on a side have none with neighbours all round
# Steps from which crops are told of: by default whole pictures took 0.8 % less than their tiles of 128² after 900, and 16 %
# more after 55,000.
LONG = 5_000
MAX_FALL = 0.01  # of val/loss over the last quarter
WINDOW = 0.25  # of the steps, at the end: what a training does in it, it does


class Finding(NamedTuple):
    """One thing that is wrong with a training. found: the figure and its limit; remedy: what to do."""

    name: str
    found: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.name}: {self.found}; {self.remedy}"


Log = Mapping[str, Sequence[tuple[int, float]]]
"""(step, value) of each quantity of a metrics.csv, where it was logged."""


def diagnose(folder: RunFolder) -> list[Finding]:
    """What is wrong with the training of a run, and with the codec that it left; empty where nothing is, or is known.

    A run that is not finished is judged by what it has done. Results of any set count, the first of them that tells.
    """
    found = [*of_training(_config(folder), _log(folder), facts_of(folder), folder.bundle.exists())]
    found += [finding for path in sorted(folder.results.glob("*.json")) for finding in of_results(path)]
    return _once(found)


def _once(findings: Sequence[Finding]) -> list[Finding]:
    """The first of each name: of several sets, or of several levels."""
    return list({finding.name: finding for finding in reversed(findings)}.values())[::-1]


def of_results(results: Results | Path) -> list[Finding]:
    """What is wrong with a learned codec by what was measured of it; nothing for a file that holds no such results."""
    if isinstance(results, Path):
        try:
            results = Results.read(results)
        except UserError:
            return []
    return _once([finding for check in (_estimate, _sleep, _escapes) for point in results.points for finding in check(point)])


def of_training(config: Mapping[str, Any], log: Log, facts: Mapping[str, Any], finished: bool) -> Iterator[Finding]:
    """What is wrong with a training. config: resolved. facts: of run.json. finished: whether all its steps are done."""
    yield from _crops(config, log)
    yield from _quantiles(facts)
    yield from _skipped(log)
    yield from _discriminator(log)
    if finished:
        yield from _target(log)
        yield from _validation(log)


def print_findings(findings: Sequence[Finding]) -> None:
    """A line a finding; nothing where there is none."""
    for finding in findings:
        print(f"doctor   {finding}")


def _config(folder: RunFolder) -> Mapping[str, Any]:
    """As it was kept; read as plain values."""
    try:
        return dict(yaml.safe_load(folder.config_file.read_text()))
    except (OSError, yaml.YAMLError, TypeError, ValueError):
        return {}


def _log(folder: RunFolder) -> Log:
    log: dict[str, list[tuple[int, float]]] = {}
    for row in folder.log():
        for name, value in row.items():
            if value and name != "step":
                log.setdefault(name, []).append((int(row["step"]), float(value)))
    return log


def _late(series: Sequence[tuple[int, float]]) -> list[float]:
    """The values of the last quarter of the steps."""
    return [value for step, value in series if step >= (1 - WINDOW) * series[-1][0]]


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _estimate(point: Point) -> Iterator[Finding]:
    bits = [
        (row.payload_bpp * row.width * row.height, row.estimated_bpp * row.width * row.height)
        for row in point.images
        if row.payload_bpp is not None and row.estimated_bpp is not None
    ]
    payload, estimated = map(sum, zip(*bits, strict=True)) if bits else (0, 0)
    constant = 8 * MAX_OVERHEAD_BYTES * len(bits)  # of small pictures much, whatever the codec
    if estimated and abs(payload - estimated) > MAX_ESTIMATE_GAP * estimated + constant:
        yield Finding(
            "estimate and file apart",
            f"files take {100 * (payload / estimated - 1):+.1f} % against the estimated rate, limit "
            f"{_percent(MAX_ESTIMATE_GAP)} and {MAX_OVERHEAD_BYTES} bytes a picture",
            "symbols lie far beyond their predicted scales, as early in a training: train longer; if it stays, lower optim.lr",
        )


def _sleep(point: Point) -> Iterator[Finding]:
    bits = {name: stream.bits for name, stream in point.streams.items()}
    if "z" in bits and (share := bits["z"] / max(sum(bits.values()), 1)) < MIN_Z_SHARE:
        yield Finding(
            "z asleep",
            f"side information takes {_percent(share)} of the bits, at least {_percent(MIN_Z_SHARE)} expected",
            "scales of y are the same for every picture: give h_a, h_s and the density of z fresh weights (init=random), or "
            "lower optim.lr",
        )


def _escapes(point: Point) -> Iterator[Finding]:
    shares = {name: stream.escapes / max(stream.symbols, 1) for name, stream in point.streams.items()}
    worst = max(shares, key=lambda name: shares[name], default=None)
    if worst is not None and shares[worst] > MAX_ESCAPES:
        yield Finding(
            "escapes",
            f"{_percent(shares[worst])} of the symbols of {worst} lie beyond their tables, limit {_percent(MAX_ESCAPES)}",
            "the scales or the density of this stream do not fit it: train longer, or on pictures like those coded",
        )


def _crops(config: Mapping[str, Any], log: Log) -> Iterator[Finding]:
    crop, steps = (config.get("data") or {}).get("crop"), config.get("steps") or 0
    if not crop or steps < LONG or "train/bpp_z" not in log or (side := -(-crop // Z_STRIDE)) >= MIN_Z_SIDE:
        return
    yield Finding(
        "crops too small",
        f"z of crops of {crop} is {side}x{side}, all of it at a border; at least {MIN_Z_SIDE}x{MIN_Z_SIDE} expected",
        f"whole pictures take more bits than they need, 16 % here once: set data.crop={4 * Z_STRIDE}",
    )


def _quantiles(facts: Mapping[str, Any]) -> Iterator[Finding]:
    error = facts.get("solved_quantile_error")
    if error is not None and not error <= MAX_QUANTILE_ERROR:
        yield Finding(
            "quantiles far from the tails",
            f"{error:.1f} logits on average where they were solved, limit {MAX_QUANTILE_ERROR:.1f}",
            "a density is too wide for any table, and what lies beyond takes escapes: lower optim.lr, or init=random",
        )


def _skipped(log: Log) -> Iterator[Finding]:
    step, skipped = (log.get("train/skipped_steps") or [(0, 0.0)])[-1]
    if step and (share := skipped / step) > MAX_SKIPPED:
        yield Finding(
            "steps skipped",
            f"{skipped:.0f} of {step}, {_percent(share)}, had a gradient that is not finite, limit {_percent(MAX_SKIPPED)}",
            "lower optim.lr, set optim.clip_norm, or precision=32-true",
        )


def _discriminator(log: Log) -> Iterator[Finding]:
    sides = [_late(log[name]) for name in ("train/real_accuracy", "train/fake_accuracy") if name in log]
    if len(sides) < 2:
        return
    right = sum(map(sum, sides)) / sum(map(len, sides))
    told = f"it tells {_percent(right)} of what it sees rightly"
    if right < CHANCE:
        remedy = "the codec learns nothing of it: raise adversarial.discriminator_lr, or lower adversarial.beta"
        yield Finding("discriminator at chance", f"{told}, at least {_percent(CHANCE)} expected", remedy)
    elif right > WINNING:
        remedy = "its gradient is noise to the codec: lower adversarial.discriminator_lr, or begin from a better first stage"
        yield Finding("discriminator winning", f"{told}, limit {_percent(WINNING)}", remedy)


def _target(log: Log) -> Iterator[Finding]:
    rates, targets = (_late(log.get(f"train/{name}") or [(0, math.nan)]) for name in ("quantized_bpp", "target_bpp"))
    gaps = [rate / target - 1 for rate, target in zip(rates, targets, strict=True)]  # batches of levels have their own targets
    gap = sum(gaps) / len(gaps)
    if not abs(gap) > MAX_TARGET_GAP:
        return
    above = gap > 0
    if all((one > 0) is above for one in gaps):  # one weight all the time: it cannot steer any more
        side, key = ("above", "raise rate_target.above") if above else ("below", "lower rate_target.below")
        yield Finding(
            "rate target not reached",
            f"{100 * gap:+.0f} % from its target, {side} it in each batch of late, limit {_percent(MAX_TARGET_GAP)}",
            f"train longer if the rate still moves; else {key}, or set a target or model.lmbda nearer to what it does",
        )


def _validation(log: Log) -> Iterator[Finding]:
    losses = log.get("val/loss") or []
    if losses and not math.isfinite(losses[-1][1]):
        yield Finding(
            "validation not finite",
            f"val/loss is {losses[-1][1]:g} after {losses[-1][0]} steps",
            "the codec is of no use: begin anew, with a lower optim.lr, optim.clip_norm=1 or precision=32-true",
        )
        return
    before = [value for step, value in losses if step <= (1 - WINDOW) * losses[-1][0]]
    if before and (fall := (before[-1] - losses[-1][1]) / abs(before[-1])) > MAX_FALL:
        yield Finding(
            "validation still falling",
            f"val/loss fell by {_percent(fall)} over the last quarter, limit {_percent(MAX_FALL)}",
            f"train longer: steps={2 * losses[-1][0]}",
        )
