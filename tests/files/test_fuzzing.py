"""A few hundred of the hostile inputs that `python tests/files/fuzzing.py` makes by the million."""

import pytest
from conftest import one_thread
from fuzzing import KINDS, MOST_GROWTH, Fuzzer, make_subjects


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_hostile_file_is_the_right_picture_or_one_line(tmp_path):
    """In bounded memory, and each in bounded time."""
    with one_thread():
        names = ["factorized", "hyperprior", "hific", "factorized levels", "mean_scale levels"]
        fuzzer = Fuzzer(tmp_path, make_subjects(tmp_path, names), seed=0)
        for number in range(1500):
            fuzzer.run(number)
    assert not fuzzer.failures
    assert {outcome for _, outcome in fuzzer.outcomes} == {"picture", "refused"}
    assert all(fuzzer.outcomes[kind, "refused"] for kind in KINDS if kind != "lic made up")
    assert fuzzer.outcomes["lic made up", "picture"] and fuzzer.growth < MOST_GROWTH
