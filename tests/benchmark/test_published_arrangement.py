"""The networks as their authors compute them, which the benchmark holds ours against."""

import pytest
import torch
from conftest import one_thread

from codec.benchmark.published_arrangement import as_published
from codec.models import build_model


@pytest.mark.parametrize("name", ["wacnn", "segpic"])
def test_the_published_arrangement_computes_the_same(name):
    torch.manual_seed(0)
    codec = build_model(name, N=24, M=40).double().train()
    x = torch.rand(2, 3, 128, 64, dtype=torch.float64)
    with one_thread():
        ours, theirs = (model(x, torch.zeros_like) for model in (codec, as_published(codec)))
    torch.testing.assert_close(ours.x_hat, theirs.x_hat)
    torch.testing.assert_close(ours.likelihoods, theirs.likelihoods)
