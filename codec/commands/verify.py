"""`codec verify`: results of a learned codec, decoded and measured again."""

import argparse
import itertools
from pathlib import Path

from codec.config.measurement import find_test_set
from codec.evaluation.results import Results
from codec.evaluation.verify import contradictions, differences, told_alone
from codec.files.bundle import SHIPPED
from codec.runs.folder import RunFolder
from codec.types import printable


def run(arguments: argparse.Namespace) -> int:
    """Say what differs, a line each, and return 1; 0 where nothing does."""
    path: Path = arguments.results
    results = Results.read(path)
    test_set = find_test_set(results.dataset, arguments.pictures)
    own = RunFolder.of_results(path).bundle
    bundle = arguments.codec or (own if own.is_file() else SHIPPED)
    num = 0
    found = differences(results, path.with_suffix(""), bundle, test_set)
    for line in itertools.chain(contradictions(results, path.read_text()), found):
        print(printable(line), flush=True)
        num += 1
    if num == 0:
        print(f"{path}: {len(test_set.pictures)} pictures decoded and measured again, nothing differs")
        print(f"not measured again: {', '.join(told_alone(results))}")
    return int(num > 0)
