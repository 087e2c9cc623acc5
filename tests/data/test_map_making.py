"""The maps of a set are the same whoever makes them, in whatever parts, and however often it was killed."""

import json
import multiprocessing
import os
import signal
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from codec.types import UserError
from data import map_making
from data.manifest import Manifest, holds_maps, manifest_name
from data.map_making import Fault, make_maps, make_missing_maps, parse_shard
from data.partition import partition
from data.region_sources.source import RegionSource
from data.regions import map_path, read_map

NUM_PICTURES, SIDE = 24, 40


class Stripes(RegionSource):
    """Stripes whose number depends on the picture's name; can be slow, and can fail for one picture."""

    name = "stripes"

    def __init__(self, maps, min_area=0, seconds=0.0, faults=()):
        super().__init__(maps, {"min_area": min_area, "max_regions": None})
        self.seconds, self.faults, self.prepared = seconds, dict(faults), 0

    def prepare(self):
        self.prepared += 1

    def region_map(self, image, relative):
        time.sleep(self.seconds)
        if relative in self.faults:
            raise UserError(self.faults[relative])
        width, height = Image.open(image).size
        stripe = np.arange(width) * (1 + zlib.crc32(relative.encode()) % 7) // width
        masks = [np.tile(stripe == number, (height, 1)) for number in range(stripe.max() + 1)]
        return partition(masks, height, width, **self.rules)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    for number in range(NUM_PICTURES):
        path = root / "deep" / f"{number:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (SIDE + number, SIDE), (number, 0, 0)).save(path)
    return root


NAMES = [f"deep/{number:02}.png" for number in range(NUM_PICTURES)]


def files(folder):
    """All that a folder of maps holds but its locks."""
    found = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".lock"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def straight(root, tmp_path_factory):
    """The files of one uninterrupted run in one process."""
    maps = tmp_path_factory.mktemp("straight")
    done = make_maps(Stripes(maps), root, NAMES)
    assert [record.image for record in done.made] == NAMES and not done.found and not done.faults
    return files(maps)


def test_the_manifest_names_each_map_with_what_it_was_made_from(root, straight):
    head, *records = [json.loads(line) for line in straight["manifest.jsonl"].decode().splitlines()]
    assert head["source"] == "stripes" and head["settings"] == {"min_area": 0, "max_regions": None}
    assert {"codec", "numpy", "pillow", "scipy"} <= head["versions"].keys()
    assert [record["image"] for record in records] == NAMES
    assert all(len(record["sha256"]) == 64 for record in records)
    assert len(straight) == NUM_PICTURES + 1


def test_processes_and_the_order_of_names_do_not_matter(root, straight, tmp_path):
    done = make_maps(Stripes(tmp_path), root, NAMES[::-1], processes=4)
    assert len(done.made) == NUM_PICTURES and files(tmp_path) == straight


def test_shards_make_each_map_once(root, straight, tmp_path):
    made = [make_maps(Stripes(tmp_path), root, NAMES, shard=(index, 3)).made for index in (2, 0, 1)]
    assert all(made) and sorted(record.image for part in made for record in part) == NAMES
    maps = {name: content for name, content in files(tmp_path).items() if name.endswith(".png")}
    assert maps == {name: content for name, content in straight.items() if name.endswith(".png")}
    again = make_maps(Stripes(tmp_path), root, NAMES)  # the whole finds what its parts made
    assert not again.made and len(again.found) == NUM_PICTURES


def num_recorded(maps):
    """The maps that a manifest names so far."""
    return (maps / "manifest.jsonl").read_text().count("sha256") if holds_maps(maps) else 0


@pytest.mark.parametrize("processes", [1, 4])
def test_a_killed_run_is_taken_up_to_the_same_files(root, straight, tmp_path, processes):
    for stop_after in (1, 9):
        source = Stripes(tmp_path, seconds=0.02)
        run = multiprocessing.get_context("fork").Process(
            target=make_maps, args=(source, root, NAMES[:-1]), kwargs={"processes": processes}
        )
        run.start()
        while num_recorded(tmp_path) < stop_after:
            time.sleep(0.002)
        assert run.pid is not None
        os.kill(run.pid, signal.SIGKILL)
        run.join()
    # A kill within a write, of a map that no worker which lives on may have made in the meantime.
    (tmp_path / "deep" / f"{NUM_PICTURES - 1}.tmp").write_bytes(b"half a map")
    with (tmp_path / "manifest.jsonl").open("a") as file:
        file.write('{"image": "deep/0')  # where a worker that lives on may have gone on
    done = make_maps(Stripes(tmp_path), root, NAMES, processes=processes)
    assert done.made and len(done.found) >= 9 and len(done.made) + len(done.found) == NUM_PICTURES
    assert files(tmp_path) == straight


def test_a_kill_loses_no_map_that_was_finished(root, straight, tmp_path):
    """However far the process that counts them is behind those that make them: here it stands still."""
    source = Stripes(tmp_path, seconds=0.05)
    run = multiprocessing.get_context("fork").Process(target=make_maps, args=(source, root, NAMES), kwargs={"processes": 4})
    run.start()
    while not (tmp_path / "manifest.jsonl").is_file() or not all(
        name in (tmp_path / "manifest.jsonl").read_text()
        for name in NAMES[:4]  # the first of each process: all are started
    ):
        time.sleep(0.002)
    assert run.pid is not None
    os.kill(run.pid, signal.SIGSTOP)
    while sum(1 for _ in tmp_path.rglob("*.png")) < 16:
        time.sleep(0.002)
    os.kill(run.pid, signal.SIGKILL)
    run.join()
    done = make_maps(Stripes(tmp_path), root, NAMES, processes=4)  # waits for the workers, each of which ends its map
    assert len(done.found) >= 16 and len(done.made) + len(done.found) == NUM_PICTURES
    assert files(tmp_path) == straight


def test_a_map_that_was_removed_or_that_no_manifest_names_is_made_again(root, straight, tmp_path):
    make_maps(Stripes(tmp_path), root, NAMES)
    map_path(tmp_path, NAMES[3]).unlink()
    lines = (tmp_path / "manifest.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "manifest.jsonl").write_text("".join(line for line in lines if NAMES[5] not in line))
    done = make_maps(Stripes(tmp_path), root, NAMES)
    assert [record.image for record in done.made] == [NAMES[3], NAMES[5]] and files(tmp_path) == straight


def test_pictures_without_a_map_are_named_and_the_others_get_theirs(root, tmp_path):
    (tmp_path / "pictures").mkdir()
    for name in ("good", "turned", "strange"):
        Image.new("RGB", (30, 20)).save(tmp_path / "pictures" / f"{name}.png")
    (tmp_path / "pictures" / "broken.jpg").write_bytes(b"no picture")
    exif = Image.Exif()
    exif[0x0112] = 6  # shown upright it is 20x30, and the source makes 30x20
    Image.new("RGB", (30, 20)).save(tmp_path / "pictures" / "turned.png", exif=exif)
    source = Stripes(tmp_path / "maps", faults={"strange.png": "no annotation;\nexpected one"})
    names = ["broken.jpg", "good.png", "strange.png", "turned.png"]
    for processes in (1, 2):
        done = make_maps(source, tmp_path / "pictures", names, processes=processes)
        assert [record.image for record in (*done.made, *done.found)] == ["good.png"]
        assert done.faults == [
            Fault("broken.jpg", "broken"), Fault("strange.png", "no annotation; expected one"),
            Fault("turned.png", "map of 30x20 for 20x30"),
        ]  # fmt: skip


def test_a_folder_of_maps_has_one_source_and_one_setting(root, tmp_path):
    make_maps(Stripes(tmp_path), root, NAMES[:2])
    for run in (make_maps, make_missing_maps):
        with pytest.raises(UserError, match=r"other settings \(min_area 0, now 9\).*set data.regions.maps"):
            run(Stripes(tmp_path, min_area=9), root, NAMES[:2])


def test_files_that_are_no_maps_are_not_overwritten(root, tmp_path):
    (tmp_path / "deep").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "deep" / "07.png")
    with pytest.raises(UserError, match="did not make, such as 07.png"):
        make_maps(Stripes(tmp_path), root, NAMES)
    with pytest.raises(UserError, match="a.jpg and a.png would have one map"):
        make_maps(Stripes(tmp_path / "maps"), root, ["a.jpg", "a.png"])


def test_a_folder_of_maps_is_known_by_what_its_manifest_says(tmp_path):
    assert not holds_maps(tmp_path)
    (tmp_path / "manifest.jsonl").write_text('{"file": "a.png"}\n')
    assert not holds_maps(tmp_path)
    with pytest.raises(UserError, match=r"^[^\n]*manifest.jsonl is no manifest of maps[^\n]*$"):
        Manifest(tmp_path, (0, 1), {"source": "stripes", "settings": {}, "versions": {}})
    (tmp_path / "manifest.jsonl").unlink()
    Manifest(tmp_path, (3, 16), {"source": "stripes", "settings": {}, "versions": {}})
    assert holds_maps(tmp_path) and (tmp_path / manifest_name((3, 16))).is_file()


def test_a_few_missing_maps_do_not_stop_a_large_set(root, tmp_path, monkeypatch):
    """Nor do they read the annotations; the audit names them."""
    names = [f"{number:03}.png" for number in range(200)]
    make_maps(Stripes(tmp_path), root, NAMES)
    for name in names[2:]:
        map_path(tmp_path, name).write_bytes(map_path(tmp_path, NAMES[0]).read_bytes())
    source = Stripes(tmp_path)
    monkeypatch.setattr(map_making, "SMALL_SET", 100)
    make_missing_maps(source, root, names)
    assert not source.prepared
    map_path(tmp_path, names[2]).unlink()
    with pytest.raises(UserError, match="3 of 200 pictures have no map.*run codec masks"):
        make_missing_maps(source, root, names)


def test_progress_is_reported_from_what_is_there_to_all(root, tmp_path):
    make_maps(Stripes(tmp_path), root, NAMES[:3])
    said = []
    make_maps(Stripes(tmp_path), root, NAMES[:6], report=lambda done, total: said.append((done, total)))
    assert said == [(3, 6), (4, 6), (5, 6), (6, 6)]
    assert read_map(map_path(tmp_path, NAMES[0])).shape == (SIDE, SIDE)


def test_shards_are_counted_from_zero():
    assert parse_shard(None) == (0, 1) and parse_shard("0/1") == (0, 1) and parse_shard("15/16") == (15, 16)
    for wrong in ("16/16", "3", "a/b", "-1/4", "1/0", ""):
        with pytest.raises(UserError, match=f"shard={wrong}; expected INDEX/COUNT"):
            parse_shard(wrong)
