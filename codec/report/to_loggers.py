"""What was measured of a run, put together for its loggers."""

from dataclasses import asdict
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from codec.evaluation.results import Results, over_same_pictures
from codec.files.bundle import load_bundle
from codec.files.coding import decode
from codec.runs.folder import RunFolder
from codec.runs.measured import Measured
from data.testsets import TestSet

NUM_PICTURES = 3  # the first of the set, the same in every run


def measured_on(folder: RunFolder, test_set: TestSet, step: int) -> Measured:
    """What the codec of a run does on a set that it was measured on; step: the last of its training."""
    dataset = test_set.name
    results = folder.results / f"{dataset}.json"
    measured = Results.read(results)
    point = measured.shown
    rows = [asdict(row) for row in point.images]
    columns = [column for column in rows[0] if any(row[column] is not None for row in rows)]
    same = over_same_pictures([measured])[0][0].shown
    means = {name: mean for name, mean in same.means().items() if mean is not None}
    plot = Image.open(folder.report / f"{dataset}_rd.png").convert("RGB")
    return Measured(
        dataset, step, means | point.of_set, [{column: row[column] for column in columns} for row in rows],
        {"rd": (pil_to_tensor(plot), dataset)} | _pictures(folder, test_set, rows, point.files(folder.results / dataset)),
        {"codec": [folder.bundle], f"results-{dataset}": [results, results.with_suffix(".csv")]},
    )  # fmt: skip


def _pictures(folder: RunFolder, test_set: TestSet, rows: list[dict], files: Path) -> dict[str, tuple[Tensor, str]]:
    """Original and reconstruction side by side of the first pictures, with rate and PSNR of their files, below `files`."""
    bundle, shown = load_bundle(folder.bundle), {}
    for number, (picture, row) in enumerate(zip(test_set.pictures[:NUM_PICTURES], rows, strict=False)):
        decoded = decode(bundle, (files / f"{picture.name}.lic").read_bytes())
        quality = "exact" if row["psnr"] is None else f"{row['psnr']:.2f} dB"
        caption = f"{picture.name}: {row['file_bpp']:.3f} bpp, {quality}"
        shown[f"picture_{number}"] = (torch.cat((picture.load(), decoded.cpu()), dim=-1), caption)
    return shown
