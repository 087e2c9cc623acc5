"""Annotation files that contradict themselves: no object on the wrong picture, none lost without a word."""

import json

import numpy as np
import pytest
from PIL import Image

from codec.types import UserError
from data.map_making import make_maps
from data.region_sources.coco_instances import CocoInstances
from data.region_sources.coco_panoptic import CocoPanoptic

HEIGHT, WIDTH = 30, 40
RULES = {"min_area": 0, "max_regions": None, "leftover": "one"}
LEFT, RIGHT, LOW = [5, 5, 25, 5, 25, 20, 5, 20], [26, 2, 38, 2, 38, 12, 26, 12], [2, 22, 12, 22, 12, 28, 2, 28]


def pairs(polygon):
    return [polygon[n : n + 2] for n in range(0, len(polygon), 2)]


def image(number, name, height=HEIGHT, width=WIDTH):
    return {"id": number, "file_name": name, "height": height, "width": width}


def source_of(path, images, annotations, encoding="utf-8"):
    """annotations: (id of the picture, segmentation), or what is to be in the file."""
    entries = [
        {"id": n, "image_id": a[0], "iscrowd": 0, "segmentation": a[1]} if isinstance(a, tuple) else a
        for n, a in enumerate(annotations)
    ]
    path.write_text(json.dumps({"images": images, "annotations": entries}), encoding=encoding)
    source = CocoInstances(path, path.parent / "maps", **RULES)
    source.prepare()
    return source


def objects(source, name):
    """How many objects a picture has, and their areas together."""
    ids = source.region_map(None, name)
    return int(ids.max()), int((ids > 0).sum())


def area(*polygons):
    return sum((polygon[2] - polygon[0]) * (polygon[5] - polygon[3]) for polygon in polygons)


def test_a_file_that_contradicts_itself_is_named_and_nothing_is_misplaced(tmp_path):
    """An id of two pictures, a file under two ids, an annotation of neither, corners as pairs."""
    images = [image(1, "p1.jpg"), image(1, "p2.jpg"), image(3, "p3.jpg"), image(9, "p3.jpg")]
    annotations = [(1, [LEFT]), (3, [LEFT]), (9, [RIGHT]), (77, [LEFT]), (3, [pairs(LOW)])]
    source = source_of(tmp_path / "a.json", images, annotations)
    said = source.describe()
    for fact in (
        "3 pictures and 5 annotations in", "2 pictures share their id with others and are left out (p1.jpg, p2.jpg)",
        "1 ids are further ones of pictures that have one", "1 annotations are of pictures that are not listed",
        "1 annotations are of pictures that are left out", "1 annotations have corners as pairs",
    ):  # fmt: skip
        assert fact in said
    assert source.select(["p1.jpg", "p2.jpg", "p3.jpg"]) == ["p3.jpg"]
    assert objects(source, "p3.jpg") == (3, area(LEFT, RIGHT, LOW))
    for name in ("p1", "p2", "p3"):
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / f"{name}.jpg")
    done = make_maps(source, tmp_path, source.select(["p1.jpg", "p2.jpg", "p3.jpg"]))
    assert [record.image for record in done.made] == ["p3.jpg"] and done.made[0].regions == 4 and not done.faults


def test_a_file_without_contradictions_is_described_in_a_few_words(tmp_path):
    source = source_of(tmp_path / "a.json", [image(1, "a.jpg")], [(1, [LEFT])])
    assert source.describe() == f"1 pictures and 1 annotations in {tmp_path}/a.json"


@pytest.mark.parametrize("segmentation, polygons, said", [
    ([pairs(LEFT)], [LEFT], "1 annotations have corners as pairs"),
    (pairs(LEFT), [LEFT], "1 annotations have corners as pairs"),
    ([pairs(LEFT), RIGHT], [LEFT, RIGHT], "1 annotations have corners as pairs"),
    (LEFT, [LEFT], "1 annotations have one polygon where several are expected"),
    ([LEFT, [1, 2, 3, 4]], [LEFT], "1 annotations have polygons that enclose nothing"),
    ([[1, 2, 3, 4], LEFT], [LEFT], "1 annotations have polygons that enclose nothing"),
    ([LEFT[:-1]], [], "1 annotations have polygons that enclose nothing"),
    ([], [], "1 annotations have no segmentation"), (None, [], "1 annotations have no segmentation"),
    ({}, [], "1 annotations have no segmentation"),
])  # fmt: skip
def test_segmentations_in_other_forms_are_read_and_told(tmp_path, segmentation, polygons, said):
    """A first polygon of two corners, which pycocotools takes for a box: cocodataset/cocoapi#348. An empty list:
    voxel51/fiftyone#1523."""
    source = source_of(tmp_path / "a.json", [image(1, "a.jpg")], [(1, segmentation)])
    assert said in source.describe()
    assert objects(source, "a.jpg") == (1 if polygons else 0, area(*polygons))


def test_an_object_may_be_rle_in_a_list_and_polygons_beside_it(tmp_path):
    mask = np.zeros((HEIGHT, WIDTH), dtype=int)
    mask[5:20, 5:25] = 1
    runs = np.diff(np.flatnonzero(np.diff(mask.T.ravel(), prepend=2, append=2))).tolist()
    rle = {"size": [HEIGHT, WIDTH], "counts": runs}
    source = source_of(tmp_path / "a.json", [image(1, "a.jpg"), image(2, "b.jpg")], [(1, [rle]), (2, [rle, RIGHT])])
    assert "2 annotations have RLE in a list" in source.describe()
    assert objects(source, "a.jpg") == (1, area(LEFT)) and objects(source, "b.jpg") == (1, area(LEFT, RIGHT))
    damaged = source_of(tmp_path / "b.json", [image(1, "a.jpg")], [(1, [RIGHT, rle | {"counts": [5]}])])
    with pytest.raises(UserError, match="an RLE of 40x30, 5 pixels long"):
        damaged.region_map(None, "a.jpg")


def test_missing_segmentations_and_ids_that_are_shared_are_counted(tmp_path):
    bare = {"id": 5, "image_id": 1, "bbox": [1, 2, 3, 4]}
    twice = {"id": 5, "image_id": 1, "segmentation": [LEFT]}
    source = source_of(tmp_path / "a.json", [image(1, "a.jpg")], [bare, twice])
    assert "1 annotations have no segmentation; 1 annotations share their id with another" in source.describe()
    assert objects(source, "a.jpg") == (1, area(LEFT))


def test_a_picture_listed_with_two_sizes_is_left_out(tmp_path):
    images = [image(1, "a.jpg"), image(2, "a.jpg", 31), image(3, "b.jpg")]
    source = source_of(tmp_path / "a.json", images, [(1, [LEFT]), (2, [LEFT]), (3, [LEFT])])
    assert "1 pictures are listed with several sizes and left out (a.jpg)" in source.describe()
    assert "2 annotations are of pictures that are left out" in source.describe()
    assert source.select(["a.jpg", "b.jpg"]) == ["b.jpg"]


def test_the_same_entry_twice_and_ids_as_text_are_no_contradiction(tmp_path):
    source = source_of(tmp_path / "a.json", [image("1", "a.jpg"), image(1, "a.jpg")], [("1", [LEFT])], encoding="utf-8-sig")
    assert source.describe().endswith("a.json") and objects(source, "a.jpg") == (1, area(LEFT))


def test_panoptic_annotations_that_contradict_each_other_leave_their_picture_out(tmp_path):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (WIDTH, HEIGHT), (1, 0, 0)).save(tmp_path / name)
    images = [image(1, "a.jpg"), image(2, "b.jpg"), image(3, "b.jpg"), image(4, "c.jpg"), image(5, "d.jpg")]

    def entry(number, file):
        return {"image_id": number, "file_name": file, "segments_info": [{"id": 1}]}

    entries = [entry(1, "a.png"), entry(1, "a.png"), entry(2, "a.png"), entry(3, "b.png"), entry(4, "b.png"), entry(9, "a.png")]
    (tmp_path / "p.json").write_text(json.dumps({"images": images, "annotations": entries}))
    source = CocoPanoptic(tmp_path / "p.json", tmp_path, tmp_path / "maps", **RULES)
    source.prepare()
    for fact in (
        "1 pictures have several annotations and are left out (b.jpg)", "1 annotations are of pictures that are not listed",
        "1 ids have no annotation", "1 ids are further ones",
    ):  # fmt: skip
        assert fact in source.describe()
    assert source.select(["a.jpg", "b.jpg", "c.jpg", "d.jpg"]) == ["a.jpg", "c.jpg"]
