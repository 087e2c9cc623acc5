"""The points of a sweep as one rate-distortion plot, and what each codec saves."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from codec.evaluation.results import Results
from codec.report.plots import write_rd_plot
from codec.report.tables import print_savings
from codec.runs.folder import RunFolder


def report_on_sweep(folders: Sequence[Path], dataset: str, baselines: Sequence[str], above: str | Path) -> None:
    """Plot finished runs on one set, beside the classical codecs, to a file in the folder `above` them; print their points."""
    ours = [Results.read(RunFolder(path).results / f"{dataset}.json") for path in folders]
    others = [Results.read(RunFolder(folders[0]).results / f"{dataset}_{name}.json") for name in baselines]
    names = [str(path.relative_to(above)) for path in folders]  # a folder is named after what its point was asked for
    plot = Path(above) / f"sweep_{hashlib.sha256(' '.join(sorted(names)).encode()).hexdigest()[:8]}.png"
    write_rd_plot(ours, others, plot)
    for result, name in sorted(zip(ours, names, strict=True), key=lambda pair: pair[0].curve()):
        for bpp, quality in result.curve():
            print(f"{name}: {quality:.2f} dB at {bpp:.3f} bpp")
    print_savings(ours, others, Console())
    print(f"plot over {len(ours)} points: {plot}")
