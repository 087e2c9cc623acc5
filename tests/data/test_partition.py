"""The rules by which masks become a partition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.types import UserError
from data.partition import check_rules, dense, merge_small, partition, settle

FREE = {"min_area": 0, "max_regions": None}


def random_masks(seed, count, height=23, width=31):
    """Rectangles that overlap."""
    rng = np.random.default_rng(seed)
    masks = []
    for _ in range(count):
        mask = np.zeros((height, width), dtype=bool)
        (top, bottom), (left, right) = (np.sort(rng.integers(0, side + 1, 2)) for side in (height, width))
        mask[top:bottom, left:right] = True
        masks.append(mask)
    return masks


def is_dense(ids):
    return ids.dtype == np.int32 and np.array_equal(np.unique(ids), np.arange(ids.max() + 1))


def is_coarser(ids, finer):
    """Whether each region of a finer partition lies in one region."""
    return len(np.unique(np.stack([finer.ravel(), ids.ravel()]), axis=1).T) == finer.max() + 1


def test_smaller_masks_lie_on_top_of_larger_ones():
    for seed in range(50):
        masks = random_masks(seed, 8)
        ids = partition(masks, 23, 31, **FREE)
        # Above a pixel: the smallest of its masks, of equals the last.
        rank = sorted(range(8), key=lambda place: (masks[place].sum(), -place))
        top = np.full(ids.shape, -1)
        for place in reversed(rank):
            top[masks[place]] = place
        assert is_dense(ids) and np.array_equal(dense(ids), ids)
        assert is_coarser(ids, dense(top)) and is_coarser(dense(top), ids)


def test_the_order_of_masks_of_unlike_size_does_not_matter():
    masks = [mask for mask in random_masks(3, 12) if mask.any()]
    masks = list({int(mask.sum()): mask for mask in masks}.values())
    assert np.array_equal(partition(masks, 23, 31, **FREE), partition(masks[::-1], 23, 31, **FREE))


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(0, 12), st.integers(0, 60), st.none() | st.integers(1, 6),
    st.sampled_from(["one", "components"]),
)  # fmt: skip
def test_whatever_the_rules_it_is_a_partition_that_keeps_them(seed, count, min_area, max_regions, leftover):
    masks = random_masks(seed, count)
    finest = partition(masks, 23, 31, **FREE, leftover=leftover)
    ids = partition(masks, 23, 31, min_area=min_area, max_regions=max_regions, leftover=leftover)
    assert is_dense(finest) and is_dense(ids) and is_coarser(ids, finest)
    areas = np.bincount(ids.ravel())
    assert len(areas) == 1 or areas.min() >= min_area
    assert max_regions is None or len(areas) <= max_regions


def test_what_is_left_is_one_region_or_its_components():
    wall = np.zeros((9, 9), dtype=bool)
    wall[:, 4] = wall[4, :] = True
    assert partition([wall], 9, 9, **FREE).max() == 1
    ids = partition([wall], 9, 9, **FREE, leftover="components")
    assert sorted(np.bincount(ids.ravel())) == [16, 16, 16, 16, 17]
    corners = settle(np.eye(4, dtype=int), **FREE, leftover="components")
    assert len(np.unique(corners)) == 3  # pixels that touch by a corner are apart: two triangles and the labelled line


def test_no_masks_are_one_region_and_one_mask_over_all_is_too():
    everything = np.ones((5, 7), dtype=bool)
    assert not partition([], 5, 7, **FREE).any() and not partition([everything], 5, 7, **FREE).any()
    nothing = np.zeros((5, 7), dtype=bool)
    assert np.array_equal(partition([nothing, everything, nothing], 5, 7, **FREE), np.zeros((5, 7)))


def test_a_small_region_joins_the_neighbour_with_the_longest_border():
    ids = np.zeros((8, 12), dtype=int)
    ids[:, 4:] = 1  # the larger of two
    ids[2:4, 3] = 2  # 2 sides to region 0 on the left, 1 above and 1 below; 2 to region 1
    merged = merge_small(ids, min_area=3, max_regions=None)
    assert np.array_equal(merged, np.where(ids == 2, 0, ids))


def test_the_smallest_are_merged_first_and_a_merged_region_counts_as_what_it_has_become():
    row = np.repeat([0, 1, 2, 3, 4], [9, 1, 2, 3, 8])[None].repeat(2, 0)
    assert np.array_equal(merge_small(row, min_area=0, max_regions=4)[0], np.repeat([0, 1, 2, 3], [10, 2, 3, 8]))
    # 1 joins 0 (the larger of two neighbours with equal borders); 2 then joins 0 as well, and 3 the larger 0, not 4.
    assert np.array_equal(merge_small(row, min_area=8, max_regions=None)[0], np.repeat([0, 1], [15, 8]))


def test_rules_that_cannot_be_followed_are_one_line():
    for wrong in ((-1, None, "one"), (0, 0, "one"), (0, None, "both")):
        with pytest.raises(UserError, match="expected.*set data.regions"):
            check_rules(*wrong)


def test_labels_far_apart_and_negative_become_dense():
    labels = np.array([[7, -3, 2**24 - 1], [7, 2**24 - 2, -3]])
    assert np.array_equal(dense(labels), [[1, 0, 3], [1, 2, 0]])
    assert np.array_equal(dense(labels.clip(max=9)), [[1, 0, 2], [1, 2, 0]])
