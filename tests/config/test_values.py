"""Every experiment and profile resolves to the values with which its figures were measured.

values.json: by the words that ask for them, the leaves with dots, as they were when sizes stood in `${paper_or_tiny:...}`.
"""

import json
from pathlib import Path

import pytest

from codec.config.compose import composed, configurations, plain

VALUES = json.loads((Path(__file__).parent / "values.json").read_text())


def leaves(config, above=""):
    for key, value in config.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{above}{key}.")
        else:
            yield above + key, value


@pytest.mark.parametrize("words", VALUES, ids=lambda words: words or "quickstart")
def test_values_are_those_that_were_measured(words):
    with configurations():
        now = plain(composed("train", words.split())[0])
    now["optim"]["optimizer"] = now["optim"]["optimizer"]["_target_"].rpartition(".")[2]
    found, expected = dict(leaves(now)), dict(VALUES[words])
    assert found["optim.optimizer"] == {"adam": "Adam", "muon": "MuonAdam"}[expected.pop("optim")]
    assert found["data.val._target_"] == "data.testsets.photographs"
    assert {key: found.get(key, "missing") for key in expected} == expected


def test_every_experiment_and_both_its_profiles_are_held():
    conf = Path(__file__).parents[2] / "conf"
    experiments = {path.stem for path in (conf / "experiment").glob("*.yaml")}
    assert experiments == {words.split()[0].partition("=")[2] for words in VALUES if words.startswith("experiment=")}
    sizes = {path.stem for path in (conf / "sizes" / "tiny").glob("*.yaml")}
    assert sizes == {w.split()[0].partition("=")[2] for w in VALUES if "profile=tiny" in w}
