"""Which bundle made results: they say its fingerprint, not where it lies."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from codec.files.bundle import SHIPPED, load_bundle
from codec.files.loaded import Bundle
from codec.files.sealed import unseal
from codec.report.sources import Measured
from codec.runs.folder import RunFolder
from codec.types import UserError


@lru_cache(2)  # of a large codec each takes a gigabyte
def _bundle(path: Path) -> Bundle:
    return load_bundle(path)


@lru_cache(64)
def _fingerprint(path: Path) -> str:
    return unseal(path).fingerprint.hex()


def wrote(path: Path, measured: Measured) -> bool:
    """Whether the bundle at the path is what results say that they are of."""
    return _fingerprint(path) in (measured.results.made_by.get("bundle") or measured.results.description)


def bundle_of(measured: Measured, codecs: Sequence[Path]) -> Bundle:
    """The bundle that made results: one of `codecs`, of its run, or the shipped one, by its fingerprint.

    Raises UserError where it is none of these.
    """
    for path in (*codecs, RunFolder.of_results(measured.path).bundle, SHIPPED):
        if (path in codecs or path.is_file()) and wrote(path, measured):
            return _bundle(path)
    raise UserError(f"no bundle of {measured.path}: it is neither beside its run nor the shipped one; say --codec BUNDLE")
