"""`codec eval`: what a codec makes of a set of pictures, by the files that it writes."""

from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_module

from codec.config.measurement import load_asked
from codec.report.of_set import measure_and_report
from codec.runs.folder import RunFolder
from codec.types import UserError

MOVED = {  # keys of before
    "data": "test=kodak, test=photographs, or test=folder test.root=PATH",
    "baselines": "test.baselines=[jpeg]",
    "measures": "test.measures=[lpips]",
}


def run(overrides: Sequence[str]) -> int:
    """The command; overrides are Hydra's, of conf/eval.yaml."""
    _check_moved(overrides)
    with initialize_config_module("conf", version_base="1.3"):
        cfg = compose("eval", list(overrides))
    if (cfg.run is None) == (cfg.codec is None):
        given = "both run and codec" if cfg.run else "neither run nor codec"
        raise UserError(f"{given} given; expected one; say run=DIR, or codec=BUNDLE")
    bundle = Path(cfg.codec) if cfg.codec else RunFolder(Path(cfg.run)).bundle
    if cfg.run and not bundle.is_file():
        raise UserError(f"no finished run at {cfg.run}: {bundle.name} is not there; expected what `codec train` leaves")
    out = Path(cfg.out) if cfg.out else (Path(cfg.run) / "results" if cfg.run else Path("results"))
    measure_and_report(bundle, load_asked(cfg), out, out)
    return 0


def _check_moved(overrides: Sequence[str]) -> None:
    """Raise UserError for a key of before, with what to say instead."""
    for override in overrides:
        key = override.partition("=")[0].lstrip("+~").partition(".")[0]
        if key in MOVED:
            raise UserError(f"{override}: codec eval has no key {key}; expected a test set and measures; say {MOVED[key]}")
