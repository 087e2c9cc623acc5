"""The name of a run is a function of the values that change its weights: one spelling, one order, one place for each."""

import copy
import re
import string
import subprocess
import sys

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from codec.runs.identity import canonical, content_of, identity_values
from codec.runs.naming import FIRST, MAX_NAME, Composed, chosen_groups, identify

RAW = {
    "experiment_name": "quickstart", "run_dir": None, "seed": 1, "steps": 900, "val_every": "${third:${steps}}",
    "log_every": 20, "model": {"name": "mean_scale", "lmbda": 0.01, "N": 64},
    "loss": {"_target_": "codec.losses.Rd", "lmbda": "${model.lmbda}"},
    "optim": {"lr": 1e-3, "optimizer": {"_target_": "MuonAdam"}}, "schedule": {"steps": "${steps}", "milestones": [300]},
    "adversarial": None, "target_bpp": None, "init_from": None, "tag": None, "precision": "auto", "ema": None,
    "data": {"root": "${oc.env:CODEC_DATA,datasets}", "num_workers": 2, "sources": {"folder": {"root": "${data.root}"}}},
    "trainer": {"devices": 1, "accumulate_grad_batches": 1, "limit_train_batches": None, "profiler": None},
    "callbacks": {"progress": {"_target_": "ShowProgress"}}, "logger": {}, "test": {"baselines": ["jpeg"]},
}  # fmt: skip


def select(config, key):
    for name in key.split("."):
        config = config[name]
    return config


def value(text, config):
    """What an interpolation of the few kinds above stands for."""
    if isinstance(text, list):
        return [value(item, config) for item in text]
    if not (isinstance(text, str) and "${" in text):
        return text
    if text.startswith("${oc.env:"):
        return "datasets"
    if text.startswith("${third:"):
        steps = value(text[8:-1], config)
        return steps // 3 if isinstance(steps, int) else steps
    return value(select(config, text[2:-1]), config)


def resolved(node, config):
    return {key: resolved(item, config) if isinstance(item, dict) else value(item, config) for key, item in node.items()}


def composed(values=()):
    """RAW with `values`, dotted key -> value, put in."""
    raw = copy.deepcopy(RAW)
    for key, item in dict(values).items():
        *above, last = key.split(".")
        node = raw
        for name in above:
            node[name] = node = node.get(name) or {}
        node[last] = item
    return Composed(resolved(raw, raw), raw)


def ask(values=(), chosen=(), contents=()):
    asked = composed(values)
    return identify(asked, composed(), dict(chosen), lambda _, raw: value(raw, asked.values), dict(contents))


def name(values=(), chosen=(), contents=()):
    return ask(values, chosen, contents).name


@pytest.mark.parametrize(
    "values, expected",
    [
        ({}, "default"),
        ({"model.lmbda": 0.0035}, "model.lmbda-0.0035"),
        ({"seed": 2, "model.lmbda": 0.03}, "model.lmbda-0.03__seed-2"),  # and no loss.lmbda
        ({"steps": 30, "optim.lr": "1e-4"}, "optim.lr-0.0001__steps-30"),  # and no schedule.steps, no val_every
        ({"optim.optimizer._target_": "torch.optim.SGD"}, "optim.optimizer._target_-torch.optim.SGD"),
        ({"adversarial.beta": 0.15, "adversarial.width": 12}, "adversarial.beta-0.15__adversarial.width-12"),
        ({"ema": 0.999, "precision": "bf16-mixed"}, "ema-0.999__precision-bf16-mixed"),
        ({"tag": "mine", "target_bpp": 0.3}, "target_bpp-0.3__tag-mine"),
        ({"trainer.limit_train_batches": 5, "trainer.profiler": "simple"}, "trainer.limit_train_batches-5"),
    ],
)
def test_a_name_says_what_is_otherwise(values, expected):
    assert name(values) == expected


def test_groups_come_before_other_values_and_under_the_node_that_they_fill():
    chosen = {"model": "wacnn", "data/regions": "grid", "data/regions@data.sources.photographs.regions": "sam"}
    expected = "model.lmbda-0.03__data.regions-grid__data.sources.photographs.regions-sam__model-wacnn__ema-0.9"
    assert name({"ema": 0.9, "model.lmbda": 0.03}, chosen) == expected


def test_what_changes_no_weights_has_no_name():
    values = {
        "log_every": 7, "run_dir": "x", "logger.wandb.offline": True, "test.baselines": [], "test.measures": ["lpips"],
        "trainer.devices": 4, "trainer.profiler": "simple", "data.num_workers": 9, "callbacks.progress": None, "compile": False,
        "hydra.launcher": "x", "experiment_name": "other", "callbacks": {}, "perceptual.lpips.net": "vgg",
    }  # fmt: skip
    assert name(values) == "default" and ask(values).values == ask().values
    assert name({"callbacks.mine._target_": "my.Callback"}) != "default"
    assert name({"trainer.accumulate_grad_batches": 2}) == "trainer.accumulate_grad_batches-2"


@pytest.mark.parametrize(
    "values",
    [
        {"model.lmbda": 0.01, "seed": "1", "steps": 9e2, "precision": "auto", "ema": "null"},
        {"schedule.steps": 900},  # in place of an interpolation, and equal to it
        {"val_every": 300},
        {"schedule.milestones": ["300"]},
        {"data.root": "datasets/"},
        {"data.sources.folder.root": "./datasets"},
        {"loss": dict(reversed(RAW["loss"].items()))},
    ],
)
def test_a_default_given_is_no_other_run(values):
    assert name(values) == "default"


def test_a_value_in_place_of_an_interpolation_counts_where_it_is_another():
    assert name({"steps": 30, "schedule.steps": 30, "val_every": 10}) == name({"steps": 30}) == "steps-30"
    assert name({"steps": 30, "schedule.steps": 900}) == "schedule.steps-900__steps-30"  # 900 is the default without steps=30
    assert name({"steps": 30, "val_every": 300}) == "steps-30__val_every-300"


def test_a_path_keeps_its_last_name_and_where_a_bundle_lies_does_not_count():
    assert re.fullmatch("data.root-train2017-[0-9a-f]{8}", name({"data.root": "/a b/COCO/train2017/"}))
    assert name({"data.root": "/a/x"}) != name({"data.root": "/b/x"})
    assert re.fullmatch("data.root-Bilder-u-[0-9a-f]{8}", name({"data.root": "Bilder_ü"}))
    assert re.fullmatch("data.root-value-[0-9a-f]{8}", name({"data.root": "写真"}))
    assert name({"data.root": "Bilder_u\u0308"}) == name({"data.root": "Bilder_\u00fc"})  # as a Mac lists it
    start = {"init_from": "bundle-0123456789ab"}
    assert name({"init_from": "a/codec.safetensors"}, contents=start) == "init_from-bundle-0123456789ab"
    assert ask({"init_from": "a"}, contents=start) == ask({"init_from": "b"}, contents=start)


def test_the_word_for_a_bundle_is_what_it_holds(tmp_path):
    for place, content in (("a", b"weights"), ("b", b"weights"), ("c", b"others")):
        (tmp_path / place).write_bytes(content)
    first, second, third = (content_of(tmp_path / place) for place in "abc")
    assert first == second != third


def test_what_the_environment_gives_has_a_name():
    given_here = composed()
    given_here.values["data"]["root"] = given_here.values["data"]["sources"]["folder"]["root"] = "/photos"
    identity = identify(given_here, composed(), {}, lambda *_: pytest.fail("nothing to resolve"), {})
    assert identity.name == name({"data.root": "/photos"})


PLAIN = st.floats(1e-6, 1e4).map(lambda x: float(f"{x:.4g}"))


@settings(deadline=None)
@given(x=st.floats(allow_nan=False, allow_infinity=False))
def test_spellings_of_a_number_are_one(x):
    spellings = [x, repr(x), f"{x:.17e}", repr(x) if repr(x).startswith("-") else f"+{x!r}"]
    spellings += [f"{x!r}0" if "e" not in repr(x) else repr(x), repr(x).upper()]
    spellings += [int(x), str(int(x))] if x.is_integer() and abs(x) < 2**53 else []
    assert len({canonical(spelling) for spelling in spellings}) == 1
    assert float(canonical(x)) == x
    assert len({canonical([spelling, "a"]) for spelling in spellings}) == 1


@pytest.mark.parametrize("spellings", [[True, "true", "True", "TRUE"], [False, "False"], [None, "null", "Null"]])
def test_spellings_of_a_word_are_one(spellings):
    assert len({canonical(spelling) for spelling in spellings}) == 1


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**6), 10**6), st.floats(allow_nan=False),
    st.text("ab_-.1~/ ü,", max_size=8), st.text(string.ascii_letters + string.digits + "_-.", max_size=60),
    st.sampled_from(["absent", "a-0123abcd", "x__seed-2", "default", "-", "_", "300-400", "1e-4"]),
)  # fmt: skip
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3))
KEYS = st.sampled_from([*FIRST, "steps", "ema", "tag", "precision", "model.N", "data.root", "a-b", "a__b", "_a", "a_b", "b.c"])
ASKED = st.dictionaries(KEYS, VALUES, max_size=8)
GROUPS = st.dictionaries(
    st.sampled_from(["model", "data/regions", "schedule", "profile"]), st.sampled_from(["a", "b", None]), max_size=2
)


@settings(deadline=None)
@given(values=ASKED, chosen=GROUPS)
def test_a_name_is_short_and_plain_and_the_same_in_any_order(values, chosen):
    found = name(values, chosen)
    assert re.fullmatch(r"[A-Za-z0-9._-]+", found) and len(found) <= MAX_NAME
    assert found not in (".", "..")
    assert name(dict(reversed(values.items())), dict(reversed(chosen.items()))) == found


@settings(deadline=None)
@given(one=ASKED, other=ASKED, groups=GROUPS, other_groups=GROUPS)
def test_other_values_have_other_names_and_equal_ones_the_same(one, other, groups, other_groups):
    alike = identity_values(composed(one).values, {}) == identity_values(composed(other).values, {})
    assert (name(one) == name(other)) == alike
    same_groups = {k: canonical(v) for k, v in groups.items()} == {k: canonical(v) for k, v in other_groups.items()}
    assert (name(one, groups) == name(other, other_groups)) == (alike and same_groups)


@settings(deadline=None)
@given(values=ASKED, key=KEYS, item=VALUES)
def test_one_value_changed_changes_the_name(values, key, item):
    changed = values | {key: item}
    alike = identity_values(composed(values).values, {}) == identity_values(composed(changed).values, {})
    assert (name(values) == name(changed)) == alike


@settings(deadline=None)
@given(lmbda=PLAIN, bpp=PLAIN, beta=PLAIN, lr=PLAIN, seed=st.integers(2, 10**6), others=ASKED, groups=GROUPS)
def test_what_comes_first_is_whole_in_every_name(lmbda, bpp, beta, lr, seed, others, groups):
    values = dict(zip(FIRST, (lmbda, bpp, beta, lr, seed), strict=True))
    assume(lmbda != 0.01 and lr != 1e-3)
    parts = name(others | values, groups).split("__")
    assert parts[:5] == [f"{key}-{canonical(item)}" for key, item in values.items()]


@settings(deadline=None)
@given(lmbda=st.floats(1e-9, 1e9), others=ASKED)
def test_lambda_is_whole_with_any_digits(lmbda, others):
    assume(lmbda != 0.01)
    assert name(others | {"model.lmbda": lmbda}).split("__")[0] == f"model.lmbda-{canonical(lmbda)}"


def experiment(chosen):
    """The choices of an experiment whose profile brings data and an optimizer, whose data brings regions."""
    choices = {"model": "wacnn", "profile": "paper", "data": "folder", "optim": "adam", "trainer": "default", "debug": None}
    choices |= {"profile": chosen.get("profile", "paper")}
    if choices["profile"] == "tiny":
        choices |= {"data": "offline", "optim": "muon", "sizes": "tiny/wacnn"}
    choices |= chosen
    node = "data.sources.photographs.regions" if choices["data"] == "offline" else "data.sources.folder.regions"
    return {f"data/regions@{node}": "none"} | choices


@pytest.mark.parametrize(
    "chosen",
    [{}, {"profile": "tiny"}, {"profile": "tiny", "optim": "adam"}, {"data": "offline"}, {"model": "segpic", "optim": "muon"},
     {"data": "offline", "data/regions@data.sources.photographs.regions": "grid"}],
)  # fmt: skip
def test_the_fewest_groups_that_explain_the_choices_are_named(chosen):
    asked = experiment(chosen) | {"trainer": "ddp", "debug": "limited", "logger": ["csv", "wandb"], "hydra/launcher": "joblib"}
    assert chosen_groups(asked, experiment) == chosen


def test_a_group_given_as_it_comes_is_not_named():
    assert chosen_groups(experiment({"profile": "tiny", "optim": "muon", "data": "offline"}), experiment) == {"profile": "tiny"}


def test_a_run_is_named_and_found_before_anything_heavy_is_imported():
    modules = "codec.runs.folder, codec.runs.naming, codec.atomic, codec.types, codec.runs.slurm"
    heavy = "{'torch', 'lightning', 'hydra', 'omegaconf', 'numpy', 'wandb'}"
    done = subprocess.run([sys.executable, "-c", f"import sys, {modules}; assert not {heavy} & set(sys.modules)"])
    assert done.returncode == 0
