"""What is drawn at a step depends on seed, step and place alone."""

from itertools import islice

import pytest

from data.sampler import StepBatchSampler, picture_at


def test_starting_later_gives_the_same_batches():
    straight = list(islice(StepBatchSampler(4), 10))
    assert list(islice(StepBatchSampler(4, start=6), 4)) == straight[6:]


@pytest.mark.parametrize("world", [1, 2, 4])
def test_ranks_share_each_global_batch(world):
    whole = list(islice(StepBatchSampler(8), 3))
    parts = [list(islice(StepBatchSampler(8, rank=rank, world=world), 3)) for rank in range(world)]
    for step in range(3):
        shares = [part[step] for part in parts]
        assert sorted(key for share in shares for key in share) == whole[step]
        assert len({len(share) for share in shares}) == 1


def test_each_epoch_is_its_own_permutation():
    epochs = [[picture_at(1, draw, 50) for draw in range(50 * epoch, 50 * (epoch + 1))] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    assert epochs[0] != [picture_at(2, draw, 50) for draw in range(50)]
