"""`codec report`: a page, figures and tables of any mix of runs, results and published curves."""

import argparse
import time

from codec.config.measurement import find_test_set
from codec.report.of_sources import write_report
from codec.types import printable


def run(arguments: argparse.Namespace) -> int:
    """Write the report and say where it is, and what could not be shown."""
    begun = time.perf_counter()
    written = write_report(arguments.sources, arguments.out, lambda name: find_test_set(name, arguments.pictures))
    for line in written.left_out:
        print(printable(f"left out {line}"))
    print(f"figures  {arguments.out / 'figures'}\ntables   {arguments.out / 'tables'}")
    print(f"page     {written.page}, {written.num_bytes / 1e6:.1f} MB, in {time.perf_counter() - begun:.0f} s")
    return 0
