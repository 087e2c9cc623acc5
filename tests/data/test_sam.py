"""The road through transformers' mask generation, with a tiny SAM of random weights saved to disk."""

import numpy as np
import pytest
import torch
from PIL import Image

from codec.types import UserError
from data.map_making import make_maps
from data.partition import dense
from data.region_sources.sam import Sam, find_model
from data.regions import map_path, read_map

THRESHOLDS = {"pred_iou_thresh": -1e9, "stability_score_thresh": 0, "crops_nms_thresh": 0.99}  # or nothing would be left
HEIGHT, WIDTH = 60, 90


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The folder of a SAM of 16,000 weights."""
    pytest.importorskip("transformers", reason="the extra sam is not installed")
    from transformers import SamConfig, SamImageProcessor, SamModel, SamProcessor

    torch.manual_seed(0)
    small = {"hidden_size": 16, "mlp_dim": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    image = {"image_size": 64, "patch_size": 8}
    config = SamConfig(
        vision_config={**small, **image, "output_channels": 16, "global_attn_indexes": [0], "num_pos_feats": 8},
        prompt_encoder_config={**image, "hidden_size": 16, "mask_input_channels": 4, "image_embedding_size": 8},
        mask_decoder_config={**small, "iou_head_hidden_dim": 16},
    )
    sizes = {"size": {"longest_edge": 64}, "pad_size": {"height": 64, "width": 64}}
    mask_sizes = {"mask_size": {"longest_edge": 16}, "mask_pad_size": {"height": 16, "width": 16}}
    folder = tmp_path_factory.mktemp("sam")
    SamModel(config).save_pretrained(folder)
    SamProcessor(SamImageProcessor(**sizes, **mask_sizes)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Three pictures."""
    root = tmp_path_factory.mktemp("pictures")
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{number}.png")
    return root


def build(model, maps="maps", min_area=0, max_regions=None, leftover="one", points_per_batch=64, **changes):
    settings = {"device": "cpu", "points_per_side": 10, **THRESHOLDS} | changes
    source = Sam(
        str(model), maps=maps, min_area=min_area, max_regions=max_regions, leftover=leftover, points_per_batch=points_per_batch,
        **settings,
    )  # fmt: skip
    source.prepare()
    return source


def test_the_masks_of_sam_become_a_partition(model, root):
    source = build(model)
    masks = [mask.numpy() for mask in source._generate(Image.open(root / "0.png"))]
    assert len(masks) >= 10 and sum(mask.astype(int) for mask in masks).max() > 1
    ids = source.region_map(root / "0.png", "0.png")
    # Above a pixel lies the smallest of its masks.
    top = np.full((HEIGHT, WIDTH), -1)
    for place in sorted(range(len(masks)), key=lambda place: -masks[place].sum()):
        top[masks[place]] = place
    assert len({*zip(top.ravel().tolist(), ids.ravel().tolist(), strict=True)}) == len(np.unique(top)) == ids.max() + 1
    assert np.array_equal(dense(ids), ids) and ids.max() >= 5


def test_the_rules_hold_for_what_sam_returns(model, root):
    areas = np.bincount(build(model, min_area=200).region_map(root / "0.png", "0.png").ravel())
    assert areas.min() >= 200 and len(areas) > 1
    assert build(model, max_regions=3).region_map(root / "0.png", "0.png").max() == 2


def test_points_at_once_change_nothing(model, root):
    few, many = (build(model, points_per_batch=count).region_map(root / "1.png", "1.png") for count in (7, 100))
    assert np.array_equal(few, many)


def test_thresholds_that_leave_no_mask_leave_one_region(model, root):
    assert not build(model, pred_iou_thresh=1e9).region_map(root / "0.png", "0.png").any()


def test_maps_are_made_by_several_processes_too(model, root, tmp_path):
    names = sorted(path.name for path in root.iterdir())
    for processes in (1, 2):
        source = build(model, tmp_path / str(processes))
        assert len(make_maps(source, root, names, processes=processes).made) == 3
    for name in names:
        one, two = (read_map(map_path(tmp_path / folder, name)) for folder in "12")
        assert torch.equal(one, two) and one.shape == (HEIGHT, WIDTH)
    manifest = (tmp_path / "1" / "manifest.jsonl").read_text()
    assert '"weights_sha256"' in manifest and '"transformers"' in manifest and str(model) not in manifest


def test_a_model_without_weights_names_the_file_and_the_place(model, tmp_path):
    for name in ("config.json", "processor_config.json"):
        (tmp_path / name).write_bytes((model / name).read_bytes())
    with pytest.raises(UserError, match=rf"^no model.safetensors in {tmp_path}; [^\n]*$"):
        build(tmp_path)


def test_a_model_that_cannot_be_fetched_names_the_file_and_the_place(tmp_path, monkeypatch):
    hub = pytest.importorskip("huggingface_hub", reason="the extra sam is not installed")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    for name in ("nobody/no-sam", "not/a/name"):
        line = rf"^no config.json of {name} in the cache {tmp_path}/cache.*hf download {name}[^\n]*$"
        with pytest.raises(UserError, match=line):
            find_model(name)


def test_settings_that_cannot_work_are_one_line(tmp_path):
    with pytest.raises(UserError, match="points_per_side=0"):
        build(tmp_path, points_per_side=0)
