"""`codec verify`: results of a learned codec, decoded and measured again."""

import argparse
from pathlib import Path

from codec.config.command_line import readable
from codec.config.compose import composed, configurations, options_of
from codec.config.measurement import load_test_set
from codec.evaluation.results import Results
from codec.evaluation.verify import differences
from codec.files.bundle import SHIPPED
from codec.runs.folder import RunFolder
from codec.types import UserError, printable
from data.testsets import TestSet


def _test_set(name: str, pictures: Path | None) -> TestSet:
    """The set of that name: one of conf/test, or a folder of the user's own."""
    with configurations():
        words = [] if pictures is None else [readable("eval", f"test.root={pictures}")]
        if name in options_of("test"):
            return load_test_set(composed("eval", [f"test={name}", *words])[0].test)
        if pictures is None:
            raise UserError(
                f"the pictures of {name}, a set of your own; expected to be told where they lie; say --pictures FOLDER"
            )
        return load_test_set(composed("eval", ["test=folder", readable("eval", f"test.name={name}"), *words])[0].test)


def run(arguments: argparse.Namespace) -> int:
    """Say what differs, a line each, and return 1; 0 where nothing does."""
    path: Path = arguments.results
    results = Results.read(path)
    test_set = _test_set(results.dataset, arguments.pictures)
    own = RunFolder(path.parent.parent).bundle
    bundle = arguments.codec or (own if own.is_file() else SHIPPED)
    num = 0
    for line in differences(results, path.with_suffix(""), bundle, test_set):
        print(printable(line), flush=True)
        num += 1
    if num == 0:
        print(f"{path}: {len(test_set.pictures)} pictures decoded and measured again, nothing differs")
    return int(num > 0)
