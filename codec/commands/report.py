"""`codec report`: a page, figures and tables of any mix of runs, results and published curves."""

import argparse
import time
from functools import partial

from codec.config.measurement import find_test_set
from codec.report.of_sources import write_report
from codec.types import printable


def run(arguments: argparse.Namespace) -> int:
    """Write the report and say where it is, and what could not be shown."""
    begun = time.perf_counter()
    find_set = partial(find_test_set, pictures=arguments.pictures)
    written = write_report(arguments.sources, arguments.out, find_set, arguments.codec)
    for line in written.left_out:
        print(printable(f"left out {line}"))
    print(f"figures  {arguments.out / 'figures'}\ntables   {arguments.out / 'tables'}")
    print(f"page     {written.page}, {written.num_bytes / 1e6:.1f} MB, in {time.perf_counter() - begun:.0f} s")
    return 0
