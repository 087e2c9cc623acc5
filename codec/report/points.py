"""A codec at one setting on a set, as a report shows it: what it has, and over which pictures."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from codec.evaluation.results import ImageRow, Point, SamePictures, same_pictures
from codec.metrics.published import in_decibels
from codec.report.doctor import MAX_TARGET_GAP
from codec.report.runs_of import Run
from codec.report.sources import Measured

QUANTITIES = {
    "psnr": "PSNR in dB", "ms_ssim_db": "MS-SSIM in dB, of the mean", "lpips": "LPIPS", "fid": "FID", "kid": "KID",
    "side": "side information in % of the rate",
}  # fmt: skip
OF_PICTURES = {"psnr": "psnr", "ms_ssim_db": "ms_ssim", "lpips": "lpips"}  # the means of pictures' own, by their columns
PUBLISHED_NETWORKS = {"lpips": "lpips_alex", "fid": "inception", "kid": "inception"}  # of these quantities, in papers
SHORT = {"lmbda": "λ", "target_bpp": "target", "quality_layers": "layers", "adversarial.beta": "β"}


@dataclass(frozen=True)
class CurvePoint:
    """A codec at one setting on a set.

    values: bpp and the quantities that it has, means over the set; none where a picture failed. rates: mean bpp over the
    pictures of a quantity whose mean leaves some out. rows: by picture, of what was measured here. run: whose it is. told: what
    is not finished about it: its figures are estimates of a validation then. measured: where files lie.
    """

    label: str
    values: dict[str, float]
    rows: Sequence[ImageRow] = ()
    setting: dict[str, Any] = field(default_factory=dict)
    run: Run | None = None
    told: str = ""
    measured: Measured | None = None
    rates: dict[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Bits per pixel, by which points are sorted: of a point where pictures failed, over the others."""
        known = [row.file_bpp for row in self.rows if row.file_bpp is not None]
        return self.values["bpp"] if "bpp" in self.values else sum(known) / max(1, len(known))

    @property
    def of_target(self) -> str:
        """Whether its rate is that of its target, and how far from it; empty where it has none."""
        target = self.setting.get("target_bpp")
        if target is None or "bpp" not in self.values:
            return ""
        gap = self.values["bpp"] / target - 1
        met = "met" if abs(gap) <= MAX_TARGET_GAP else "missed"
        return f"target {target:.4g} bpp {met}, {100 * gap:+.0f} %".replace("-", "−")

    def at(self, quantity: str, across: str = "bpp") -> tuple[float, float] | None:
        """Its place in a plot of a quantity over the rate or another one; None where both have no mean of the same pictures."""
        if not {quantity, across} <= self.values.keys():
            return None
        if across == "bpp":
            return self.rates.get(quantity, self.values["bpp"]), self.values[quantity]
        same = self.rates.get(quantity) == self.rates.get(across)  # means of one set of pictures are one number
        return (self.values[across], self.values[quantity]) if same else None


def setting_label(setting: dict[str, Any]) -> str:
    """A setting in few words: λ 0.0067, quality 24."""
    return ", ".join(f"{SHORT.get(key, key)} {value:.4g}" if isinstance(value, float) else f"{SHORT.get(key, key)} {value}"
                     for key, value in setting.items())  # fmt: skip


def same_pictures_of(points: Sequence[Point]) -> dict[str, SamePictures]:
    """By quantity what its means leave out at all these points, which are those of a set."""
    return {quantity: same_pictures(points, column) for quantity, column in OF_PICTURES.items()}


def measured_point(
    point: Point, same: Mapping[str, SamePictures], run: Run | None = None, measured: Measured | None = None
) -> CurvePoint:
    """The point with its means. MS-SSIM in dB is that of the mean, as in published curves, not the mean of the pictures' dB.

    same: of the set, see same_pictures_of.
    """
    bpp = point.mean("file_bpp")
    over = {quantity: point.without(same[quantity].left_out) for quantity in OF_PICTURES}
    found = {quantity: over[quantity].mean(column) for quantity, column in OF_PICTURES.items()}
    ms_ssim = found["ms_ssim_db"]
    found["ms_ssim_db"] = in_decibels(ms_ssim) if ms_ssim is not None and ms_ssim < 1 else None
    found = {"bpp": bpp, **found, "fid": point.of_set.get("fid"), "kid": point.of_set.get("kid")}
    found["side"] = _side_information(point)
    values = {} if bpp is None else {name: value for name, value in found.items() if value is not None}
    fewer = {quantity: own.mean("file_bpp") for quantity, own in over.items() if quantity in values and own is not point}
    rates = {quantity: rate for quantity, rate in fewer.items() if rate is not None}
    return CurvePoint(setting_label(point.setting), values, point.images, point.setting, run, "", measured, rates)


def of_one_network(points: Sequence[CurvePoint]) -> tuple[list[CurvePoint], dict[str, str], list[str]]:
    """The points of a curve with LPIPS, FID and KID of one network each: that of most of them, which is one measure.

    Also the networks that are not the published ones, by quantity, and a line for each point whose figure was left out.
    """
    points, networks, left_out = list(points), {}, []
    for quantity, published in PUBLISHED_NETWORKS.items():
        by = {place: _network(point, quantity) for place, point in enumerate(points) if quantity in point.values}
        kept = max(dict.fromkeys(by.values()), key=list(by.values()).count, default=published)
        if kept != published:
            networks[quantity] = kept
        for place, network in by.items():
            if network != kept:
                point = points[place]
                left_out.append(f"{point.label}: its {QUANTITIES[quantity]} is by {network}, that of the others by {kept}")
                points[place] = replace(point, values={k: v for k, v in point.values.items() if k != quantity})
    return points, networks, left_out


def _network(point: CurvePoint, quantity: str) -> str:
    known = {} if point.measured is None else point.measured.results.measured_with
    return known.get(quantity, PUBLISHED_NETWORKS[quantity])


def refused(points: Iterable[CurvePoint]) -> list[str]:
    """A line for each reason why pictures failed: the settings where they did, which have no means, and how many."""
    reasons: dict[str, dict[str, int]] = {}
    for point in points:
        for row in point.rows:
            if row.failed is not None:
                of = reasons.setdefault(row.failed, {})
                of[point.label] = of.get(point.label, 0) + 1
    return [f"{'; '.join(of)}: no mean, {max(of.values())} of the pictures failed: {reason}" for reason, of in reasons.items()]


def _side_information(point: Point) -> float | None:
    """The share of all streams but the main latent in percent, as Ballé 2018, figure 7 has it; None of a codec without any."""
    bits = {name: stream.bits for name, stream in point.streams.items()}
    return 100 * (1 - bits["y"] / sum(bits.values())) if "y" in bits and len(bits) > 1 else None
