"""Noise of U(-1/2, 1/2) in the place of rounding, for training (Ballé 2018).

B pictures; C h w of a latent.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Noise = Callable[[Tensor], Tensor]
"""Gives noise of U(-1/2, 1/2) in the shape, type and place of its argument."""

LOW_BITS = 0xFFFFFFFF


def uniform_noise(like: Tensor) -> Tensor:
    """Noise of U(-1/2, 1/2) from the device's own generator."""
    return torch.empty_like(like).uniform_(-0.5, 0.5)


def _signed(number: int) -> int:
    """32 bits as torch's int32 has them."""
    return ((number & LOW_BITS) ^ 0x80000000) - 0x80000000


def _shifted(x: Tensor, bits: int) -> Tensor:
    """x >> bits of int32 taken as unsigned."""
    return (x >> bits).bitwise_and_(LOW_BITS >> bits)


def _hash(x: Tensor) -> Tensor:
    """A bijection of int32 in which each bit hangs on all, in place ("lowbias32" of Wellons' hash prospector)."""
    x.bitwise_xor_(_shifted(x, 16)).mul_(_signed(0x7FEB352D))
    x.bitwise_xor_(_shifted(x, 15)).mul_(_signed(0x846CA68B))
    return x.bitwise_xor_(_shifted(x, 16))


class NoiseByPlace:
    """Noise that is a function of seed, batch, and a picture's place in it: for one forward pass.

    Whatever process holds the picture on whatever device, beside whichever others, its noise is the same bits. Drawn from a
    generator it would hang on how many pictures and, in SegPIC, regions this process happens to have.

    seed, batch: of a training, integers. places: int32 [B], of the pictures in the batch over all processes, on their device.
    """

    def __init__(self, seed: int, batch: int, places: Tensor):
        self._keys = _keys(seed, batch, places)
        self._calls = 0

    def __call__(self, like: Tensor) -> Tensor:
        self._calls += 1
        keys = _hash(self._keys + self._calls)
        hashed = _hash(_numbered(like.shape[1:], like.device) ^ keys.view(-1, *[1] * (like.ndim - 1)))
        # The middles of 2^23 intervals, which float32 holds.
        return _shifted(hashed, 9).to(like.dtype).add_(0.5).mul_(2.0**-23).sub_(0.5)


def _keys(seed: int, batch: int, places: Tensor) -> Tensor:
    """int32 [B], of places int32 [B] in a batch of a training."""
    keys = torch.zeros_like(places)
    for number in (seed, batch):
        keys = _hash(keys + _signed(number))
    return _hash(keys + places)


def numbers_by_place(seed: int, batch: int, places: Tensor, count: int) -> Tensor:
    """A number from 0 to count - 1, at most 2^39, for each of places int32 [B], each as likely: int64 [B].

    A function of its arguments, as the noise of NoiseByPlace, and not to be told from it. seed, batch, places: as there.
    """
    hashed = _shifted(_hash(_keys(seed, batch, places)), 9)  # the noise's calls are counted from 1: this is call 0
    return hashed.long() * count >> 23


def _numbered(shape: Sequence[int], device: torch.device) -> Tensor:
    """[C, …] int32: all numbers from 0, channels counting first, so that those of a place hang on no other place.

    A picture with fewer regions beside it has fewer rows of prototypes, and the same noise in those of its own.
    """
    channels, *places = shape
    count = torch.arange(channels * torch.Size(places).numel(), dtype=torch.int32, device=device)
    return count.view(*places, channels).movedim(-1, 0)
