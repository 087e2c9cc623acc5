"""`codec eval`: what a codec makes of a set of pictures, by the files that it writes."""

from pathlib import Path

from omegaconf import DictConfig

from codec.config.command_line import Words
from codec.config.compose import each_point
from codec.config.measurement import load_asked, load_test_set
from codec.evaluation.results import Results
from codec.files.sealed import unseal
from codec.machine import keep_freed_memory
from codec.report.doctor import of_results, print_findings
from codec.report.of_set import holding_results, measure_and_report
from codec.runs.folder import RunFolder
from codec.types import UserError


def run(asked: Words) -> int:
    """The command, of conf/eval.yaml."""
    keep_freed_memory()
    for cfg in each_point("eval", asked):
        _evaluate(cfg)
    return 0


def _evaluate(cfg: DictConfig) -> None:
    if (cfg.run is None) == (cfg.codec is None):
        given = "both run and codec" if cfg.run else "neither run nor codec"
        raise UserError(f"{given} given; expected one; say run=DIR, or codec=BUNDLE")
    source = Path(cfg.codec or cfg.run)
    bundle = source if cfg.codec else RunFolder(source).bundle
    if cfg.run and not bundle.is_file():
        raise UserError(f"no finished run at {cfg.run}: {bundle.name} is not there; expected what `codec train` leaves")
    out = Path(cfg.out) if cfg.out else (source / "results" if cfg.run else Path("results"))
    asked, fingerprint = load_asked(cfg, load_test_set(cfg.test)), unseal(bundle).fingerprint.hex()
    with holding_results(out, asked.test_set.name):
        if cfg.codec or cfg.out:  # what is in a run's own folder is of the same run, trained less far
            _check_room(out / f"{asked.test_set.name}.json", bundle, fingerprint)
        print_findings(of_results(measure_and_report(bundle, asked, out, out)))


def _check_room(path: Path, bundle: Path, fingerprint: str) -> None:
    """Raise UserError where results of another codec lie at `path`: they and their files would be lost.

    bundle: the codec to measure now, of that fingerprint.
    """
    if not path.exists():
        return
    there = Results.read(path)
    theirs = there.made_by.get("bundle")
    if theirs != fingerprint:
        raise UserError(
            f"{path} has results of another codec ({there.name}, bundle {theirs or 'unknown'}) than {bundle} (bundle "
            f"{fingerprint}); expected none or its own; set out to another folder, or remove them"
        )
