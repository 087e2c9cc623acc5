"""What can be measured of decoded pictures beside PSNR and MS-SSIM, for those who ask: LPIPS, FID, KID, NIQE."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from codec.evaluation.failures import FigureError, attempt
from codec.metrics.distribution import PATCH, PatchFeatures, patch_corners
from codec.metrics.inception import load_feature_network
from codec.metrics.niqe import MIN_NIQE_SIDE, load_niqe
from codec.metrics.perceptual import MIN_LPIPS_SIDE, Lpips
from codec.metrics.quality import MIN_MS_SSIM_SIDE, ms_ssim
from codec.types import UnavailableError, UserError
from data.testsets import TestImage

MEASURES = ("lpips", "fid", "kid", "niqe")
MIN_PATCHES = 2048  # as many as Inception has features: fewer leave their covariance singular

Network = TypeVar("Network")
Value = TypeVar("Value")


class Measures:
    """Those of MEASURES that were asked for, with their networks as far as these can be had.

    lpips: arguments of Lpips. features: see load_feature_network. niqe_parameters: see load_niqe. small_sets: measure FID
    and KID of fewer than 2048 patches, too.
    asked: their names. measured_with: the network of each measure. not_computed: why there is none.
    Raises UserError for a name or a file that is none.
    """

    def __init__(
        self,
        names: Sequence[str] = (),
        *,
        lpips: Mapping[str, Any] | None = None,
        features: str = "inception",
        niqe_parameters: str | None = None,
        small_sets: bool = False,
    ):
        for name in names:
            if name not in MEASURES:
                raise UserError(f"unknown measure '{name}'; expected some of {', '.join(MEASURES)}; set test.measures")
        self.asked = asked = frozenset(names)
        self.small_sets = small_sets
        self.measured_with: dict[str, str] = {}
        self.not_computed: dict[str, str] = {}
        self._failed: dict[str, str] = {}  # why, by what failed for some pictures
        self._lpips = self._load(asked & {"lpips"}, lambda: Lpips(**lpips or {}, setting="perceptual.lpips"))
        if self._lpips is not None:
            self.measured_with["lpips"] = self._lpips.name
        self._of_sets = sorted(asked & {"fid", "kid"})
        self._network = self._load(asked & {"fid", "kid"}, lambda: load_feature_network(features))
        if self._network is not None:
            self.measured_with |= dict.fromkeys(self._of_sets, features)
        self._niqe = self._load(asked & {"niqe"}, lambda: load_niqe(niqe_parameters))
        if self._niqe is not None:
            self.measured_with["niqe"] = "pyiqa"

    def _load(self, measures: Collection[str], load: Callable[[], Network]) -> Network | None:
        """What `load` gives, where one of the measures asks for it and it can be had."""
        try:
            return load() if measures else None
        except UnavailableError as reason:
            self.not_computed |= dict.fromkeys(sorted(measures), str(reason))
            return None

    def check_size(self, pictures: Sequence[TestImage], dataset: str) -> None:
        """Raise UserError where the set has too few patches for a distribution."""
        if self._network is None or self.small_sets:
            return
        num = sum(len(patch_corners(*picture.load().shape[1:])) for picture in pictures)
        if num < MIN_PATCHES:
            raise UserError(
                f"{' and '.join(self._of_sets)} of {dataset}, whose pictures hold {num} patches of {PATCH}x{PATCH}; expected "
                f"at least {MIN_PATCHES}; set perceptual.small_sets=true to measure them nevertheless"
            )

    def patch_features(self) -> PatchFeatures | None:
        """What collects the patches of a set, where FID or KID was asked for."""
        return None if self._network is None else PatchFeatures(self._network)

    @torch.inference_mode()
    def of_picture(self, decoded: Tensor, original: Tensor, patches: PatchFeatures | None = None) -> dict[str, float | None]:
        """LPIPS and NIQE of a picture, both uint8 [3, H, W], by their names in ImageRow; patches get its own.

        None where it is too small, or the measure fails, as for lack of memory: `missing` says why.
        """
        side = min(original.shape[1:])
        values: dict[str, float | None] = {}
        if (lpips := self._lpips) is not None:
            value = None
            if side >= MIN_LPIPS_SIDE:
                value = self._attempt("lpips", lambda: float(lpips(decoded[None] / 255, original[None] / 255)))
            values["lpips"] = value
        if (niqe := self._niqe) is not None:
            values["niqe"] = self._attempt("niqe", lambda: niqe(decoded)) if side >= MIN_NIQE_SIDE else None
        if patches is not None:
            self._attempt("patches", lambda: patches.add(decoded, original))
        return values

    def ms_ssim(self, decoded: Tensor, original: Tensor) -> float | None:
        """MS-SSIM of a picture; None as in of_picture."""
        return self._attempt("ms_ssim", lambda: ms_ssim(decoded, original))

    def _attempt(self, name: str, step: Callable[[], Value]) -> Value | None:
        """What a step gives; None, and why in self._failed, where it fails."""
        try:
            return attempt(step)
        except FigureError as error:
            self._failed.setdefault(name, str(error))
            return None

    def of_set(self, patches: PatchFeatures | None) -> dict[str, float]:
        """FID and KID of a set, as asked for, and its number of patches; empty without two patches."""
        if patches is None or len(patches) < 2 or "patches" in self._failed:
            return {}
        steps = {"fid": patches.frechet_distance, "kid": patches.kernel_distance}
        values = {name: self._attempt(name, steps[name]) for name in self._of_sets}
        return {"num_patches": len(patches)} | {name: value for name, value in values.items() if value is not None}

    def missing(self, rows: Sequence[Any], values: Mapping[str, float]) -> dict[str, str]:
        """Why a measure that was asked for is missing, for some pictures or for the set of those `rows` and `values`."""
        missing = dict(self.not_computed)
        if any(row.ms_ssim is None for row in rows):
            missing["ms_ssim"] = f"some pictures have a side under {MIN_MS_SSIM_SIDE} pixels"
        for name, side in (("lpips", MIN_LPIPS_SIDE), ("niqe", MIN_NIQE_SIDE)):
            if name in self.measured_with and any(getattr(row, name) is None for row in rows):
                missing[name] = f"some pictures have a side under {side} pixels, or nothing in them"
        if self._network is not None and not values:
            missing |= dict.fromkeys(self._of_sets, f"the pictures hold fewer than two patches of {PATCH}x{PATCH}")
        for name, reason in self._failed.items():
            missing |= dict.fromkeys(self._of_sets if name == "patches" else [name], f"failed for some pictures: {reason}")
        return missing
