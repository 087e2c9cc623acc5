"""What is drawn at a step depends on seed, step and place alone."""

from itertools import islice

import pytest

from data.sampler import Key, StepBatchSampler, picture_at


def test_starting_later_gives_the_same_batches():
    straight = list(islice(StepBatchSampler(4, lambda: 0), 10))
    assert list(islice(StepBatchSampler(4, lambda: 6), 4)) == straight[6:]


def test_a_new_epoch_goes_on_where_the_last_ended():
    seen: list[list[Key]] = []
    sampler = StepBatchSampler(4, lambda: len(seen))
    for _ in range(3):
        seen += list(islice(sampler, 2))
    assert seen == list(islice(StepBatchSampler(4, lambda: 0), 6))


def test_overfitting_repeats_the_first_batches():
    batches = list(islice(StepBatchSampler(4, lambda: 3, overfit_batches=2), 5))
    first, second = islice(StepBatchSampler(4, lambda: 0), 2)
    assert batches == [second, first, second, first, second]


@pytest.mark.parametrize("world", [1, 2, 4])
def test_ranks_share_each_global_batch(world):
    whole = list(islice(StepBatchSampler(8, lambda: 0), 3))
    parts = [list(islice(StepBatchSampler(8, lambda: 0, rank, world), 3)) for rank in range(world)]
    for step in range(3):
        shares = [part[step] for part in parts]
        assert sorted(key for share in shares for key in share) == whole[step]
        assert len({len(share) for share in shares}) == 1


def test_each_epoch_is_its_own_permutation():
    epochs = [[picture_at(1, draw, 50) for draw in range(50 * epoch, 50 * (epoch + 1))] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    assert epochs[0] != [picture_at(2, draw, 50) for draw in range(50)]
