"""Masks that overlap become a partition: one integer a pixel, every pixel in exactly one region.

H W height and width of the picture, K number of regions.
"""

import heapq
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from codec.types import UserError

LEFTOVER = ("one", "components")
TABLE = 2**16  # labels further apart are sorted, which takes ten times as long as looking them up in a table


def check_rules(min_area: int, max_regions: int | None, leftover: str = "one") -> None:
    """Raise UserError for settings that no partition can follow."""
    if min_area < 0:
        raise UserError(f"min_area={min_area}; expected 0 or a number of pixels; set data.regions.min_area")
    if max_regions is not None and max_regions < 1:
        raise UserError(f"max_regions={max_regions}; expected at least 1, or null for no limit; set data.regions.max_regions")
    if leftover not in LEFTOVER:
        raise UserError(f"leftover={leftover}; expected one or components; set data.regions.leftover")


def partition(
    masks: Sequence[np.ndarray], height: int, width: int, *, min_area: int, max_regions: int | None, leftover: str = "one"
) -> np.ndarray:
    """The regions that masks cut a picture into, int32 [H, W], ids dense from 0.

    masks: bool or 0 and 1, each [H, W] of that height and width; they may overlap: smaller ones lie on top of larger ones,
    later ones on top of earlier ones of their size. leftover: pixels without a mask are "one" region, or one for each of their
    connected "components". min_area, max_regions: as in merge_small.
    """
    return settle(_pile(masks, height, width), min_area=min_area, max_regions=max_regions, leftover=leftover)


def _pile(masks: Sequence[np.ndarray], height: int, width: int) -> np.ndarray:
    """The mask that shows at each pixel, int32 [H, W], from 1 at the bottom; 0 where there is none."""
    pile = np.zeros((height, width), dtype=np.int32)
    areas = [np.count_nonzero(mask) for mask in masks]
    order = sorted(range(len(masks)), key=lambda place: -areas[place])
    for place, index in enumerate(order, start=1):
        pile[masks[index].astype(bool, copy=False)] = place
    return pile


def settle(labels: np.ndarray, *, min_area: int, max_regions: int | None, leftover: str = "one") -> np.ndarray:
    """A partition by labels that overlap no more: int32 [H, W], ids dense from 0. 0 means that a pixel has no label."""
    if leftover == "components":
        pieces, _ = ndimage.label(labels == 0)
        labels = np.where(labels == 0, -pieces, labels)
    return merge_small(labels, min_area=min_area, max_regions=max_regions)


def dense(labels: np.ndarray) -> np.ndarray:
    """Any integers [H, W] as int32 ids 0..K-1, in the same order."""
    low, high = int(labels.min()), int(labels.max())
    if high - low >= TABLE:
        _, ids = np.unique(labels, return_inverse=True)
        return ids.reshape(labels.shape).astype(np.int32)
    shifted = labels - low
    present = np.bincount(shifted.ravel(), minlength=high - low + 1) > 0
    return (np.cumsum(present, dtype=np.int32) - 1)[shifted]


def merge_small(labels: np.ndarray, *, min_area: int, max_regions: int | None) -> np.ndarray:
    """A partition without small regions, int32 [H, W], ids dense from 0.

    labels: integers [H, W], one for each region. Regions below min_area pixels join the neighbour with which they share
    the longest border, the smallest first, and so do the smallest while there are over max_regions (None: no limit).
    """
    ids = dense(labels)
    areas = np.bincount(ids.ravel())
    if areas.min() >= min_area and (max_regions is None or len(areas) <= max_regions):
        return ids
    return dense(_join(areas.tolist(), _borders(ids, len(areas)), min_area, max_regions or len(areas))[ids])


def _join(areas: list[int], borders: list[dict[int, int]], min_area: int, max_regions: int) -> np.ndarray:
    """The region that each region ends in, by merging the smallest; areas and borders are used up."""
    heap = [(area, region) for region, area in enumerate(areas)]
    heapq.heapify(heap)
    joined: list[tuple[int, int]] = []
    while len(joined) < len(areas) - 1:
        area, region = heapq.heappop(heap)
        if area != areas[region]:
            continue  # it has joined another since, or another it
        if area >= min_area and len(areas) - len(joined) <= max_regions:
            break
        # A picture is connected, so that each region but the only one has a neighbour.
        into = max(borders[region], key=lambda other: (borders[region][other], areas[other], -other))
        for other, length in borders[region].items():
            del borders[other][region]
            if other != into:
                borders[other][into] = borders[into][other] = borders[into].get(other, 0) + length
        areas[into], areas[region] = areas[into] + area, -1
        heapq.heappush(heap, (areas[into], into))
        joined.append((region, into))
    end = np.arange(len(areas))
    for region, into in reversed(joined):  # what joined later is known already
        end[region] = end[into]
    return end


def _borders(ids: np.ndarray, count: int) -> list[dict[int, int]]:
    """For each region, how many pairs of neighbouring pixels (by a side) it shares with each other region."""
    pairs = [(ids[:, :-1].ravel(), ids[:, 1:].ravel()), (ids[:-1].ravel(), ids[1:].ravel())]
    one, other = (np.concatenate(side) for side in zip(*pairs, strict=True))
    apart = one != other
    one, other = one[apart].astype(np.int64), other[apart].astype(np.int64)
    keys, lengths = np.unique(np.minimum(one, other) * count + np.maximum(one, other), return_counts=True)
    borders: list[dict[int, int]] = [{} for _ in range(count)]
    for key, length in zip(keys.tolist(), lengths.tolist(), strict=True):
        low, high = divmod(key, count)
        borders[low][high] = borders[high][low] = length
    return borders
