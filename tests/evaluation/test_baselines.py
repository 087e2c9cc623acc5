"""Classical codecs are measured once on the same pictures, and again where anything else could come out."""

from pathlib import Path
from threading import Thread

import pytest
from conftest import picture
from PIL import features

from codec.evaluation import baselines
from codec.evaluation.baselines import cache_folder, measure_baselines
from codec.evaluation.classical import CLASSICAL, measure_classical
from codec.evaluation.results import Results
from codec.types import UserError
from data.testsets import TestImage, TestSet


def a_set(name="mine", seed=0, picture_name="a"):
    return TestSet(name, [TestImage(picture_name, lambda: picture(24, 32, seed)), TestImage("b", lambda: picture(40, 16))])


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Nothing is kept yet."""
    monkeypatch.setenv("CODEC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def measured(monkeypatch):
    """The codecs that were measured, in turn."""
    names = []

    def measure(name, test_set, programs):
        names.append(name)
        return measure_classical(name, test_set, programs)

    monkeypatch.setattr(baselines, "measure_classical", measure)
    return names


def test_again_is_read_with_the_times_of_the_first_measurement(measured):
    first = measure_baselines(["jpeg", "webp"], a_set())
    again = measure_baselines(["webp", "jpeg", "avif"], a_set())
    assert measured == ["jpeg", "webp", "avif"]
    assert again[:2] == first[::-1]  # every figure, seconds too
    assert all("its times are of then" in results.description for results in again)
    plain = measure_classical("jpeg", a_set())
    assert [point.mean("psnr") for point in plain.points] == [point.mean("psnr") for point in first[0].points]
    assert measure_baselines([], a_set()) == []


def test_the_same_pictures_in_another_set_are_the_same(measured):
    measure_baselines(["jpeg"], a_set("mine"))
    (again,) = measure_baselines(["jpeg"], a_set("yours"))
    assert measured == ["jpeg"] and again.dataset == "yours"


def test_other_pictures_names_settings_and_libraries_are_measured_anew(measured, monkeypatch):
    def is_measured(test_set):
        before = len(measured)
        measure_baselines(["jpeg"], test_set)
        return len(measured) > before

    assert is_measured(a_set()) and not is_measured(a_set())
    assert is_measured(a_set(seed=1)) and is_measured(a_set(picture_name="c"))
    version = features.version
    with monkeypatch.context() as patch:
        patch.setattr(features, "version", lambda name: "0.1" if name == "libjpeg_turbo" else version(name))
        assert is_measured(a_set())
    for change in ({"ladder": (10, 90)}, {"options": {"optimize": True}}):
        codec = CLASSICAL["jpeg"]
        monkeypatch.setitem(CLASSICAL, "jpeg", type(codec)(**vars(codec) | change))
        assert is_measured(a_set())


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-9], lambda b: b.replace(b"24", b"25", 1), lambda b: b"", lambda b: b"\xff" + b]
)
def test_what_is_damaged_is_measured_again_and_whole_then(measured, folder, damage):
    measure_baselines(["jpeg"], a_set())
    (path,) = (folder / "baselines").iterdir()
    path.write_bytes(damage(path.read_bytes()))
    for _ in range(2):
        measure_baselines(["jpeg"], a_set())
    assert measured == ["jpeg", "jpeg"] and list((folder / "baselines").iterdir()) == [path]


def test_processes_that_keep_the_same_at_once_leave_one_whole_entry(folder, measured):
    threads = [Thread(target=measure_baselines, args=(["jpeg"], a_set())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    before = len(measured)
    measure_baselines(["jpeg"], a_set())
    assert len(measured) == before and len(list((folder / "baselines").iterdir())) == 1


def test_a_picture_that_a_codec_refuses_costs_its_cells_alone(measured, folder):
    """WebP has 16,383 pixels a side at most."""
    wide = TestSet("mine", [TestImage("wide", lambda: picture(1, 16384)), TestImage("small", lambda: picture(24, 32))])
    jpeg, webp = measure_baselines(["jpeg", "webp"], wide)
    assert all(row.failed is None and row.psnr is not None for point in jpeg.points for row in point.images)
    for point in webp.points:
        refused, small = point.images
        assert "16383" in refused.failed and (refused.file_bpp, refused.psnr, refused.encode_seconds) == (None, None, None)
        assert small.failed is None and small.file_bpp > 0
    assert "9 rows failed, wide at 0 first" in webp.not_computed["file_bpp"] and "psnr" not in webp.not_computed
    assert webp.curve() == [] and len(webp.image_curve("small")) == 9  # a mean without it would be of another set
    assert Results.from_json(webp.to_json()) == webp
    assert len(list((folder / "baselines").iterdir())) == 1 and webp.description == measure_classical("webp", wide).description


def test_a_folder_that_cannot_be_written_costs_time_and_nothing_else(measured, folder, capsys):
    folder.write_text("a file [of mine]")
    assert measure_baselines(["jpeg"], a_set())[0].points
    said = capsys.readouterr().out
    assert "JPEG will be measured again next time" in said and "set CODEC_CACHE" in said


def test_the_folder_is_the_users(monkeypatch, folder):
    monkeypatch.setenv("XDG_CACHE_HOME", "/here")
    assert cache_folder() == folder
    monkeypatch.delenv("CODEC_CACHE")
    assert cache_folder() == Path("/here/codec")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/of")
    assert cache_folder() == Path("/home/of/.cache/codec")


def test_an_unknown_baseline_is_one_line():
    with pytest.raises(UserError, match="unknown baseline 'bpg'.*set test.baselines"):
        measure_baselines(["bpg"], a_set())
