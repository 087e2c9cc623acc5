"""Regions from COCO's annotations and from folders: on files made here, and on the sample of COCO where it is."""

import json
import pickle

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from codec.types import UserError
from data.region_sources.coco_instances import CocoInstances, run_lengths
from data.region_sources.coco_json import read_entries
from data.region_sources.coco_panoptic import CocoPanoptic
from data.region_sources.folder import FolderRegions
from data.region_sources.source import RegionSource

RULES = {"min_area": 0, "max_regions": None, "leftover": "one"}
HEIGHT, WIDTH = 40, 60


def ready(source: RegionSource) -> RegionSource:
    source.prepare()
    return source


def instances(path, **rules):
    return ready(CocoInstances(path, path.parent / "maps", **RULES | rules))


def panoptic(path, pngs, **rules):
    return ready(CocoPanoptic(path, pngs, path.parent / "maps", **RULES | rules))


def is_partition(ids, height, width):
    return ids.shape == (height, width) and np.array_equal(np.unique(ids), np.arange(ids.max() + 1))


def annotate(path, segmentations, name="a.jpg", **more):
    """An annotation file of one picture."""
    image = {"id": 7, "file_name": name, "height": HEIGHT, "width": WIDTH}
    annotations = [{"id": n, "image_id": 7, "iscrowd": 0, "segmentation": s} for n, s in enumerate(segmentations)]
    path.write_text(json.dumps({"info": {"a": [1, {}]}, "annotations": annotations, **more, "images": [image]}))
    return path


def rectangle(top, bottom, left, right):
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    mask[top:bottom, left:right] = 1
    return mask


def compressed(mask):
    rle = coco_mask.encode(np.asfortranarray(mask))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def uncompressed(mask):
    runs = np.diff(np.flatnonzero(np.diff(mask.T.ravel(), prepend=2, append=2)))
    return {"size": list(mask.shape), "counts": ([0] if mask[0, 0] else []) + runs.tolist()}


# The sample of COCO


def test_instances_of_coco_keep_their_masks_areas(shared):
    """By COCO's own reader: a mask that overlaps no other is a region; of others the part that smaller ones leave is."""
    path = shared / "images" / "coco_sample" / "instances.json"
    coco, source = COCO(path), instances(path)
    names = {image["file_name"]: image for image in coco.dataset["images"]}
    alone = crowds = 0
    for name in source.select(sorted(names)):
        image = names[name]
        ids = source.region_map(path.parent / "images" / name, name)
        assert is_partition(ids, image["height"], image["width"])
        annotations = coco.imgToAnns[image["id"]]
        masks = np.array([coco.annToMask(annotation) for annotation in annotations]).reshape(-1, *ids.shape)
        areas = masks.sum(axis=(1, 2), dtype=int)
        top = np.full(ids.shape, -1)
        for place in sorted(range(len(masks)), key=lambda place: -areas[place]):
            top[masks[place] > 0] = place
        assert len({*zip(top.ravel().tolist(), ids.ravel().tolist(), strict=True)}) == len(np.unique(top)) == ids.max() + 1
        for annotation, mask in zip(annotations, masks, strict=True):
            if mask.any() and masks.sum(axis=0)[mask > 0].max() == 1:
                region = ids[mask > 0][0]
                assert (ids == region).sum() == coco_mask.area(coco.annToRLE(annotation))
                alone += 1
            crowds += annotation["iscrowd"]
    assert alone == 204 and crowds == 11


def test_panoptic_areas_of_coco_equal_the_files(shared):
    folder = shared / "images" / "coco_sample"
    source = panoptic(folder / "panoptic.json", folder / "panoptic")
    document = json.loads((folder / "panoptic.json").read_text())
    pictures = {image["id"]: image for image in document["images"]}
    for annotation in document["annotations"]:
        image = pictures[annotation["image_id"]]
        ids = source.region_map(folder / "images" / image["file_name"], image["file_name"])
        assert is_partition(ids, image["height"], image["width"])
        areas = sorted(segment["area"] for segment in annotation["segments_info"])
        unlabelled = ids.size - sum(areas)
        assert sorted(np.bincount(ids.ravel())) == sorted(areas + [unlabelled] * (unlabelled > 0))


def test_human_segmentations_are_maps(shared):
    folder = shared / "images" / "bsds500"
    source = FolderRegions(folder / "segmentations", "{folder}/{stem}_*.png", None, "maps", 0, None)
    source.prepare()
    path = sorted((folder / "images").glob("*/*.jpg"))[0]
    name = path.relative_to(folder / "images").as_posix()
    ids = source.region_map(path, name)
    assert is_partition(ids, *Image.open(path).size[::-1]) and ids.max() > 1


# Instances


def test_polygons_rle_and_compressed_rle_are_the_same_masks(tmp_path):
    inner, outer = rectangle(10, 20, 15, 30), rectangle(5, 30, 5, 50)
    corners = [[5, 5, 50, 5, 50, 30, 5, 30]]
    assert np.array_equal(coco_mask.decode(coco_mask.frPyObjects(corners, HEIGHT, WIDTH))[..., 0], outer)
    maps = []
    for number, forms in enumerate([(compressed(inner), compressed(outer)), (uncompressed(inner), uncompressed(outer)),
                                    (compressed(inner), corners)]):  # fmt: skip
        source = instances(annotate(tmp_path / f"{number}.json", forms))
        maps.append(source.region_map(tmp_path / "a.jpg", "a.jpg"))
    expected = np.zeros((HEIGHT, WIDTH), dtype=int)
    expected[outer > 0], expected[inner > 0] = 1, 2
    assert all(np.array_equal(ids, expected) for ids in maps)


def test_an_object_of_several_polygons_is_one_region(tmp_path):
    parts = [[5, 5, 20, 5, 20, 20, 5, 20], [30, 5, 50, 5, 50, 20, 30, 20]]
    ids = instances(annotate(tmp_path / "a.json", [parts])).region_map(tmp_path, "a.jpg")
    assert ids.max() == 1 and ids[10, 10] == ids[10, 40] == 1 and ids[10, 25] == 0


def test_an_annotation_that_encloses_nothing_is_no_region(tmp_path):
    empty = [[], [[3, 3, 9, 9]], compressed(rectangle(0, 0, 0, 0)), [[3, 3, 9, 9], [5, 5, 20, 5, 20, 20, 5, 20]]]
    assert instances(annotate(tmp_path / "a.json", empty)).region_map(tmp_path, "a.jpg").max() == 1


def test_run_lengths_are_those_that_were_encoded():
    rng = np.random.default_rng(0)
    for density in (0.01, 0.5, 0.99):
        for _ in range(20):
            mask = (rng.random((200, 90)) < density).astype(np.uint8)
            runs = run_lengths(coco_mask.encode(np.asfortranarray(mask))["counts"])
            assert np.array_equal(runs, uncompressed(mask)["counts"])
    assert len(run_lengths(b"")) == 0


@pytest.mark.parametrize("segmentation", [
    {"size": [HEIGHT, WIDTH], "counts": "5"},
    {"size": [HEIGHT, WIDTH], "counts": ""},
    {"size": [HEIGHT, WIDTH], "counts": "zzzz"},
    {"size": [HEIGHT, WIDTH], "counts": [5, 5]},
    {"size": [HEIGHT, WIDTH], "counts": [5, 50000]},
    {"size": [WIDTH, HEIGHT], "counts": [0, HEIGHT * WIDTH]},
    [[0, 0, 1e9, 0, 1e9, 1e9]],
    [[0, 0, float("nan"), 0, 5, 5]],
])  # fmt: skip
def test_a_damaged_mask_is_an_error_of_its_picture(tmp_path, segmentation):
    """pycocotools reads beyond such masks, or does not end."""
    source = instances(annotate(tmp_path / "a.json", [segmentation]))
    with pytest.raises(UserError, match="a.json; expected"):
        source.region_map(tmp_path / "a.jpg", "a.jpg")


def test_a_picture_without_annotations_is_one_region_and_strange_ids_belong_to_none(tmp_path):
    stray = [{"id": 1, "image_id": 99, "segmentation": [[5, 5, 20, 5, 20, 20, 5, 20]]}]
    source = instances(annotate(tmp_path / "a.json", [], annotations=stray))
    assert not source.region_map(tmp_path / "a.jpg", "a.jpg").any()


def test_annotations_travel_as_arrays(tmp_path):
    """What other processes get has no object for each annotation."""
    masks = [compressed(rectangle(n % 30, n % 30 + 5, 3, 9)) for n in range(500)]
    source = instances(annotate(tmp_path / "a.json", masks))
    held = [value for part in (source, *vars(source).values()) for value in getattr(part, "__dict__", {}).values()]
    assert any(isinstance(value, np.ndarray) and len(value) >= 500 for value in held)
    assert all(isinstance(value, np.ndarray) or not hasattr(value, "__len__") or len(value) < 100 for value in held)
    copy = pickle.loads(pickle.dumps(source))
    assert np.array_equal(copy.region_map(tmp_path, "a.jpg"), source.region_map(tmp_path, "a.jpg"))


# Panoptic


def test_ids_that_differ_in_blue_alone_stay_apart(tmp_path):
    """R * 1e6 + G * 1e3 + B in float32 cannot tell these apart at R >= 200."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    pixels[:, 10:30], pixels[:, 30:50] = (201, 3, 10), (201, 3, 11)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    ids = [201 + 256 * 3 + 65536 * blue for blue in (10, 11)]
    annotation = {"image_id": 7, "file_name": "a.png", "segments_info": [{"id": number} for number in ids]}
    path = annotate(tmp_path / "a.json", [], annotations=[annotation])
    source = panoptic(path, tmp_path)
    assert np.array_equal(source.region_map(tmp_path / "a.jpg", "a.jpg")[0], np.repeat([0, 1, 2, 0], [10, 20, 20, 10]))
    apart = panoptic(path, tmp_path, leftover="components")
    assert apart.region_map(tmp_path / "a.jpg", "a.jpg").max() == 3

    annotate(path, [], annotations=[annotation | {"segments_info": [{"id": ids[0]}]}])
    with pytest.raises(UserError, match=f"id {ids[1]}, which .*a.json lacks"):
        panoptic(path, tmp_path).region_map(tmp_path / "a.jpg", "a.jpg")


def test_a_picture_without_panoptic_annotation_is_not_selected(tmp_path):
    path = annotate(tmp_path / "a.json", [], annotations=[])
    with pytest.raises(UserError, match="none of 1 pictures"):
        panoptic(path, tmp_path).select(["a.jpg"])


# Which pictures


def test_pictures_are_found_by_their_path_or_by_their_name(tmp_path):
    plain = instances(annotate(tmp_path / "a.json", []))
    assert plain.select(["b.jpg", "train/a.jpg"]) == ["train/a.jpg"]
    with pytest.raises(UserError, match="train/a.jpg and val/a.jpg are one entry"):
        plain.select(["train/a.jpg", "val/a.jpg"])
    deep = instances(annotate(tmp_path / "b.json", [], name="train/a.jpg"))
    assert deep.select(["train/a.jpg", "val/a.jpg"]) == ["train/a.jpg"]
    with pytest.raises(UserError, match="none of 1 pictures.*b.json.*data.regions.annotations"):
        deep.select(["b.jpg"])


# Annotation files


@pytest.mark.parametrize("text", [
    "", "[]", "{", '{"images": []}', '{"images": [], "annotations": {}}', '{"images": [], "annotations": []',
    '{"images": [1], "annotations": []}', '{"images": [{"id": 1}], "annotations": []}', '{"images": [], "annotations": [}]}',
    '{"images" [], "annotations": []}', "\x00\x01",
])  # fmt: skip
def test_a_file_that_is_no_annotation_file_is_one_line(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=r"^[^\n]*a.json is no annotation file[^\n]*set data.regions.annotations$"):
        instances(tmp_path / "a.json")


def test_a_missing_annotation_file_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no annotations at .*a.json"):
        instances(tmp_path / "a.json")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(UserError, match="b.json is no annotation file"):
        instances(tmp_path / "b.json")


def test_entries_are_those_of_json(tmp_path):
    """Whatever the order of the lists, the spaces between them and what else there is."""
    document = {"x": {"images": [1]}, "annotations": [{"a": n, "b": "]}é\n"} for n in range(5)], "z": [], "images": []}
    for indent in (None, 1, "\t"):
        (tmp_path / "a.json").write_text(json.dumps(document, indent=indent, ensure_ascii=indent is None))
        entries = {"images": [], "annotations": []}
        read_entries(tmp_path / "a.json", {key: found.append for key, found in entries.items()})
        assert entries == {key: document[key] for key in entries}


# Folders


def draw(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def test_maps_of_any_kind_of_png(tmp_path):
    labels = np.repeat([3, 200, 7, 3], 10).reshape(4, 10)
    draw(tmp_path / "grey.png", labels.astype(np.uint8))
    draw(tmp_path / "deep.png", (labels * 300).astype(np.uint16))
    draw(tmp_path / "ids.png", np.stack([labels * 0 + 250, labels * 0, labels], axis=2).astype(np.uint8))
    palette = Image.fromarray(labels.astype(np.uint8), "P")
    palette.putpalette([0] * 768)  # all colours alike: the places in it are what counts
    palette.save(tmp_path / "palette.png")
    source = FolderRegions(tmp_path, "{stem}.png", None, "maps", 0, None)
    source.prepare()
    for stem in ("grey", "deep", "ids", "palette"):
        assert np.array_equal(source.region_map(tmp_path, f"{stem}.jpg")[:, 0], [0, 2, 1, 0]), stem


def test_one_of_several_annotators_is_the_first_or_drawn(tmp_path):
    names = [f"set/{n}.jpg" for n in range(20)]
    for name in names:
        for annotator in range(3):
            draw(tmp_path / f"{name[:-4]}_{annotator}.png", np.repeat(np.arange(annotator + 1), 4).astype(np.uint8)[None])
    draw(tmp_path / "set" / "10_x" / "1_0.png", np.zeros((1, 4), dtype=np.uint8))

    def counts(number):
        source = FolderRegions(tmp_path, "{folder}/{stem}_?.png", number, "maps", 0, None)
        source.prepare()
        return [source.region_map(tmp_path, name).max() for name in names]

    assert set(counts(None)) == {0}
    assert counts(1) == counts(1) != counts(2) and set(counts(1)) == {0, 1, 2}


def test_names_with_wildcards_in_them_are_names(tmp_path):
    for name, count in (("a[1]", 2), ("a1", 3), ("a*", 4)):
        draw(tmp_path / f"{name}.png", np.arange(count).astype(np.uint8)[None])
    source = FolderRegions(tmp_path, "{folder}/{stem}.png", None, "maps", 0, None)
    source.prepare()
    assert [source.region_map(tmp_path, f"{name}.jpg").max() for name in ("a[1]", "a1", "a*")] == [1, 2, 3]
    with pytest.raises(UserError, match="no map in .*expected one named {folder}/{stem}.png"):
        source.region_map(tmp_path, "b.jpg")


def test_a_folder_without_maps_and_a_wrong_pattern_are_one_line(tmp_path):
    with pytest.raises(UserError, match="no PNG files in .*data.regions.pngs"):
        FolderRegions(tmp_path, "{stem}.png", None, "maps", 0, None).prepare()
    with pytest.raises(UserError, match="pattern={name}.png; expected"):
        FolderRegions(tmp_path, "{name}.png", None, "maps", 0, None)
    Image.new("RGBA", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no")
    source = FolderRegions(tmp_path, "{stem}.png", None, "maps", 0, None)
    source.prepare()
    for name, fault in (("a.jpg", "mode RGBA"), ("b.jpg", "no PNG that can be read")):
        with pytest.raises(UserError, match=fault):
            source.region_map(tmp_path, name)
