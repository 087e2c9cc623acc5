"""`codec eval`: what a codec makes of a set of pictures, by the files that it writes."""

from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_module

from codec.evaluation.classical import classical_codec
from codec.evaluation.measure import load_measures
from codec.report.of_set import measure_and_report
from codec.runs.folder import RunFolder
from codec.types import UserError
from data.testsets import load_test_set


def run(overrides: Sequence[str]) -> int:
    """The command; overrides are Hydra's, of conf/eval.yaml."""
    with initialize_config_module("conf", version_base="1.3"):
        cfg = compose("eval", list(overrides))
    if (cfg.run is None) == (cfg.codec is None):
        given = "both run and codec" if cfg.run else "neither run nor codec"
        raise UserError(f"{given} given; expected one; say run=DIR, or codec=BUNDLE")
    bundle = Path(cfg.codec) if cfg.codec else RunFolder(Path(cfg.run)).bundle
    if cfg.run and not bundle.is_file():
        raise UserError(f"no finished run at {cfg.run}: {bundle.name} is not there; expected what `codec train` leaves")
    out = Path(cfg.out) if cfg.out else (Path(cfg.run) / "results" if cfg.run else Path("results"))
    for name in cfg.baselines:
        classical_codec(name)  # a wrong name shows now, not after all the coding
    dataset = cfg.data.get("name", "folder")
    pictures = load_test_set(dataset, Path(cfg.data.root))
    measures = load_measures(cfg.measures, cfg.perceptual, pictures, dataset)
    measure_and_report(bundle, pictures, dataset, cfg.baselines, measures, out, out)
    return 0
