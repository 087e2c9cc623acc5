"""HiFiC's second stage in two steps, by words of the command, from weights that were not trained."""

from pathlib import Path

from codec.files.bundle import save_bundle
from codec.models import build_model

WIDTHS = {"N": 8, "M": 8, "C": 4, "num_blocks": 1}
SECOND_STAGE = [
    "experiment=hific", "profile=tiny", *(f"model.{key}={value}" for key, value in WIDTHS.items()), "steps=2", "val_every=2",
    "save_every=2", "log_every=1", "data.crop=64", "data.batch_size=4", "data.sources.dead_leaves.num_pictures=2",
    "data.sources.dead_leaves.size=96", "adversarial.width=4", "test.baselines=[]",
]  # fmt: skip


def save_first_stage(path: Path) -> None:
    """A bundle that such a run starts from, by init_from."""
    save_bundle(path, build_model("hific", **WIDTHS), {"config": {"target_bpp": 0.14}}, half=True)
