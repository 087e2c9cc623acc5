"""Regions by Segment Anything (Kirillov et al. 2023): masks for a grid of points, through transformers' pipeline."""

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from codec.types import UserError
from data.images import read_image
from data.partition import partition
from data.region_sources.source import RegionSource

# What a folder has to hold, as transformers saves it; of several names one is enough, and the first is fetched.
FILES = (("config.json",), ("model.safetensors",), ("preprocessor_config.json", "processor_config.json"))


def find_model(model: str) -> Path:
    """The folder of a model: a local one, or that of a name on the Hugging Face hub, fetched unless it is in the cache.

    Raises UserError that names the file which is missing and the place where it should be.
    """
    folder = Path(model)
    if folder.is_dir():
        for names in FILES:
            if not any((folder / name).is_file() for name in names):
                raise UserError(
                    f"no {' or '.join(names)} in {folder.resolve()}; expected a model as transformers saves it; put it there, "
                    "or set data.regions.model"
                )
        return folder
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.constants import HF_HUB_CACHE

    for name in (names[0] for names in FILES):
        try:
            cached = try_to_load_from_cache(model, name)
            path = Path(cached if isinstance(cached, str) else hf_hub_download(model, name))
        except (OSError, ValueError) as error:  # no network, no such model; no name of a model
            raise UserError(
                f"no {name} of {model} in the cache {HF_HUB_CACHE}, none to be fetched ({type(error).__name__}), and no folder "
                f"{folder.resolve()}; expected one of them; where there is a network run hf download {model} and copy the "
                f"cache, or set data.regions.model to a folder with {', '.join(names[0] for names in FILES)}"
            ) from None
    return path.parent


class Sam(RegionSource):
    """One region for each mask that SAM returns, smaller ones on top, and one for what is left.

    model: a folder or a name on the hub, of transformers' SAM family. device: auto takes a GPU where there is one.
    points_per_side: of the grid of points that are asked; points_per_batch: asked at once, which costs memory and changes
    nothing. pred_iou_thresh, stability_score_thresh: masks of less are dropped; crops_nms_thresh: of two masks whose boxes
    overlap by more, the better stays. maps, min_area, max_regions, leftover: as in RegionSource and data.partition.
    """

    name = "sam"
    packages = ("torch", "transformers")
    in_processes = False  # one process uses all cores, or the GPU

    def __init__(
        self,
        model: str,
        device: str,
        points_per_side: int,
        points_per_batch: int,
        pred_iou_thresh: float,
        stability_score_thresh: float,
        crops_nms_thresh: float,
        maps: str | Path,
        min_area: int,
        max_regions: int | None,
        leftover: str,
    ):
        if points_per_side < 1 or points_per_batch < 1:
            raise UserError(
                f"points_per_side={points_per_side}, points_per_batch={points_per_batch}; expected at least 1 each; set them "
                "below data.regions"
            )
        self._thresholds = {
            "pred_iou_thresh": pred_iou_thresh, "stability_score_thresh": stability_score_thresh,
            "crops_nms_thresh": crops_nms_thresh,
        }  # fmt: skip
        rules = {"min_area": min_area, "max_regions": max_regions, "leftover": leftover}
        # By its last name: the same model lies elsewhere on another machine, and the hash of its weights tells it apart.
        options = {"model": Path(model).name, "points_per_side": points_per_side, **self._thresholds}
        super().__init__(maps, rules, options)
        self.model, self.device = model, device
        self.points_per_side, self.points_per_batch = points_per_side, points_per_batch
        self._folder: Path | None = None
        self._pipeline: Any = None

    def prepare(self) -> None:
        if find_spec("transformers") is None:
            raise UserError("transformers is not installed; expected it for data/regions=sam; run pip install 'codec[sam]'")
        if self._folder is None:
            self._folder = find_model(self.model)

    def describe(self) -> str:
        return f"SAM in {self._folder}"

    def settings(self) -> dict[str, Any]:
        assert self._folder is not None
        with (self._folder / "model.safetensors").open("rb") as file:
            return {**self.asked(), "weights_sha256": hashlib.file_digest(file, "sha256").hexdigest()}

    def _generate(self, image: Image.Image) -> list[torch.Tensor]:
        """The masks of a picture, each bool [H, W], overlapping."""
        if self._pipeline is None:  # here: each process needs its own, and CUDA does not survive a fork
            from transformers import pipeline
            from transformers.utils import logging

            logging.disable_progress_bar()
            device = self.device if self.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
            self._pipeline = pipeline("mask-generation", model=str(self._folder), device=device)
        return self._pipeline(
            image, points_per_crop=self.points_per_side, points_per_batch=self.points_per_batch, **self._thresholds
        )["masks"]

    def region_map(self, image: Path, relative: str) -> np.ndarray:
        pixels = read_image(image).permute(1, 2, 0).numpy()
        masks = [mask.cpu().numpy() for mask in self._generate(Image.fromarray(pixels))]
        return partition(masks, *pixels.shape[:2], **self.rules)
