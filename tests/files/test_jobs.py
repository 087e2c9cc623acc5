"""Many files at once: in batches, the networks of some beside the range coder of the last."""

import pytest
import torch
from conftest import ALL_NAMES, picture

from codec.files.bundle import load_bundle
from codec.files.coding import begin_encoding, decode, decode_batch, encode, reconstruct, reconstruct_batch
from codec.files.jobs import Job, Work, check_free, missing, run_jobs
from codec.types import UserError

pytestmark = pytest.mark.usefixtures("on_one_thread")


@pytest.fixture(scope="module")
def bundles(live_bundles):
    return {name: load_bundle(path) for name, path in live_bundles.items()}


@pytest.mark.parametrize("name", ALL_NAMES)
def test_pictures_coded_together_decode_alone_and_the_other_way_round(bundles, name):
    bundle, images = bundles[name], torch.stack([picture(70, 90, seed) for seed in range(3)])
    together = begin_encoding(bundle, images)()
    alone = [encode(bundle, image) for image in images]
    for encoded in (together, alone):
        latents, height, width = decode_batch(bundle, [one.file for one in encoded])
        assert (height, width) == (70, 90)
        pictures = reconstruct_batch(bundle, latents, height, width)
        for number, one in enumerate(encoded):
            assert latents.of(number).equal(one.latents)
            # The synthesis is in floats, which round otherwise in a batch.
            assert (pictures[number].int() - reconstruct(bundle, one.latents, 70, 90).int()).abs().max() <= 1
            assert (decode(bundle, one.file).int() - pictures[number].int()).abs().max() <= 1
    sizes = [sum(len(one.file) for one in encoded) for encoded in (together, alone)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.01)


@pytest.mark.parametrize("name", ALL_NAMES)
def test_what_stays_behind_on_a_device_without_float64_is_the_pass_alone(bundles, name):
    """Analysis and synthesis use the networks that are moved there, all of them and no others."""
    model, image = bundles[name].model, picture(70, 90)
    moved = {layer for network in model.picture_networks() for layer in network.modules()}
    used = set()
    hooks = [
        layer.register_forward_hook(lambda layer, *_: used.add(layer))
        for layer in model.modules() if not list(layer.children())
    ]  # fmt: skip
    encoded = encode(bundles[name], image)
    used.clear()
    model.padded_analysis(image[None] / 255)
    model.synthesis(encoded.latents)
    for hook in hooks:
        hook.remove()
    assert used and used <= moved
    assert all(p.dtype == torch.float32 for network in model.picture_networks() for p in network.parameters())


def reading(contents):
    def read(path):
        if isinstance(contents[path.name], Exception):
            raise contents[path.name]
        return contents[path.name]

    return read


def work_on(contents, begin):
    """Contents whose first letters are alike go together."""
    return Work(
        lambda _: (2, 3), reading(contents), lambda text: (2, 3, text[:1]), begin, lambda text, made: f"{text} {made.decode()}"
    )


def outcomes_of(tmp_path, contents, begin, batch=2):
    jobs = [Job(tmp_path / name, tmp_path / "out" / name) for name in contents]
    outcomes = run_jobs(jobs, work_on(contents, begin), batch)
    return [said if isinstance(said, str) else f"! {said}" for _, said, _ in outcomes]


def test_jobs_are_told_in_order_and_batches_hold_what_is_alike(tmp_path):
    batches = []

    def begin(texts):
        batches.append(list(texts))
        return lambda: [text.upper().encode() for text in texts]

    contents = {"1": "a1", "2": "a2", "3": "a3", "4": "b1", "5": UserError("unreadable"), "6": "b2", "7": "b3"}
    said = outcomes_of(tmp_path, contents, begin)
    assert said == ["a1 A1", "a2 A2", "a3 A3", "b1 B1", "! unreadable", "b2 B2", "b3 B3"]
    assert batches == [["a1", "a2"], ["a3"], ["b1"], ["b2", "b3"]]
    assert (tmp_path / "out" / "7").read_bytes() == b"B3"


def test_in_a_batch_one_bad_file_costs_itself_alone(tmp_path):
    def begin(texts):
        if "a2" in texts:
            raise UserError("damaged")
        if "a3" in texts:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return lambda: [b"" for _ in texts]

    said = outcomes_of(tmp_path, {name: f"a{name}" for name in "1234"}, begin, batch=4)
    assert [text.startswith("!") for text in said] == [False, True, True, False]
    assert "damaged" in said[1] and "more memory than is free" in said[2]


def test_in_a_batch_one_that_fails_late_costs_itself_alone(tmp_path):
    def begin(texts):
        def rest():
            if "a2" in texts:
                raise UserError("no picture")
            return [text.encode() for text in texts]

        return rest

    said = outcomes_of(tmp_path, {name: f"a{name}" for name in "123"}, begin, batch=3)
    assert said == ["a1 a1", "! no picture", "a3 a3"]


def test_a_link_to_nothing_is_there_already(tmp_path):
    """What is written would take its place."""
    (tmp_path / "a.lic").symlink_to("elsewhere/a.lic")
    jobs = [Job(tmp_path / "a.png", tmp_path / "a.lic")]
    with pytest.raises(UserError, match="a.lic is there already"):
        check_free(jobs, allowed=False)
    check_free(jobs, allowed=True)
    with pytest.raises(UserError, match="a.lic is there already, and no file; expected"):
        missing(jobs, True, lambda path: None if path.is_file() else "and no file")
    assert missing(jobs, False, lambda path: None) == jobs


def test_what_fails_late_is_one_line_too(tmp_path):
    def begin(texts):
        def rest():
            raise MemoryError

        return rest

    assert "more memory than is free" in outcomes_of(tmp_path, {"1": "a"}, begin)[0]
    (tmp_path / "out").write_text("no folder")
    assert "check both" in outcomes_of(tmp_path, {"1": "a"}, lambda texts: lambda: [b""])[0]


def test_an_error_of_ours_is_no_line(tmp_path):
    def begin(texts):
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        outcomes_of(tmp_path, {"1": "a"}, begin)
