"""The noise of a picture hangs on seed, batch and place alone: not on the process, the device, or what lies beside it."""

import torch

from codec.entropy.noise import NoiseByPlace


def noise(*shapes, places=range(8), seed=3, batch=5, dtype=torch.float32):
    """What one pass draws, call by call."""
    source = NoiseByPlace(seed, batch, torch.tensor(list(places), dtype=torch.int32))
    return [source(torch.zeros((len(places), *shape), dtype=dtype)) for shape in shapes]


def test_ranks_draw_what_one_process_draws():
    whole = noise((6, 4, 5), (12, 2, 3))
    for world in (2, 4):
        for rank in range(world):
            part = noise((6, 4, 5), (12, 2, 3), places=range(rank, 8, world))
            assert all(torch.equal(own, all_of_them[rank::world]) for own, all_of_them in zip(part, whole, strict=True))


def test_regions_beside_it_change_no_prototype():
    few, many = noise((6, 3, 1), (4, 5, 5)), noise((6, 300, 1), (4, 5, 5))
    assert torch.equal(few[0], many[0][:, :, :3]) and torch.equal(few[1], many[1])


def test_seed_batch_place_and_call_all_count():
    (one,) = noise((4, 8, 8))
    others = [
        *noise((4, 8, 8), seed=4),
        *noise((4, 8, 8), batch=6),
        *noise((4, 8, 8), places=range(1, 9)),
        noise((4, 8, 8), (4, 8, 8))[1],
    ]
    assert all((one - other).abs().mean() > 0.3 for other in others)  # 1/3 of independent ones


def test_memory_format_and_type_change_nothing():
    source = [NoiseByPlace(1, 2, torch.arange(2, dtype=torch.int32)) for _ in range(2)]
    like = torch.zeros(2, 6, 4, 4)
    assert torch.equal(source[0](like), source[1](like.contiguous(memory_format=torch.channels_last)))
    assert torch.equal(noise((6, 4, 4))[0].double(), noise((6, 4, 4), dtype=torch.float64)[0])


def test_it_is_uniform_and_independent():
    drawn = torch.cat([torch.cat([part.flatten(1) for part in noise((64, 8, 8), batch=batch)]) for batch in range(20)])
    assert -0.5 < drawn.min() < -0.49999 and 0.49999 < drawn.max() < 0.5
    counts = torch.histc(drawn, 100, -0.5, 0.5)
    assert ((counts - drawn.numel() / 100) ** 2).sum() / (drawn.numel() / 100) < 150  # chi-square of 99, 0.05 % above 148
    correlations = torch.corrcoef(drawn) - torch.eye(len(drawn))
    assert correlations.abs().max() < 6 / 64  # of pictures: 4,096 values, deviation 1/64
    for shift in (1, 8, 64, 65, 512):  # along channels, columns, rows
        assert abs(float((drawn[:, :-shift] * drawn[:, shift:]).mean()) * 12) < 0.01
