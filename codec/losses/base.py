"""What a training minimises, and what it tells of each batch.

B batch, H W height and width of the pictures.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from codec.losses.levels import Ladder
from codec.losses.rate_target import Decision
from codec.types import CodecOutput


class LossTerms(NamedTuple):
    """The loss of one batch and what is logged beside it: scalars on the batch's device, all but the loss without gradient.

    distortion: on the loss's own scale. bpp: bits per original pixel; bpp_by_stream sums to it. mse: on [0, 1].
    decision: of a rate target, or None. further: other terms, each under the name that it has in the log.
    """

    loss: Tensor
    distortion: Tensor
    bpp: Tensor
    bpp_by_stream: dict[str, Tensor]
    mse: Tensor
    decision: Decision | None = None
    further: dict[str, Tensor] = {}

    def psnr(self) -> Tensor:
        """Of the batch as one picture, in dB, unclamped."""
        return -10 * torch.log10(self.mse)


class Loss:
    """What a training minimises. Subclasses write `__call__`, and set what is otherwise for them.

    of_mse: lmbda weights 255^2 * MSE against bits per pixel, from which init=pca takes its quantisation step.
    steers: to target_bpp, for which outputs of training have quantized_likelihoods, too.
    distortion_name: of the distortion that lmbda weighs, or None: lambdas of two distortions do not compare.
    measured_with: the network that it measures with, which the bundle names, or None.
    levels: what it weighs each level by, of a loss that trains a codec of several rates; outputs of training then say at which
        level each picture was coded.
    """

    of_mse: bool = False
    steers: bool = False
    distortion_name: str | None = None
    measured_with: str | None = None
    levels: Ladder | None = None

    def __call__(self, output: CodecOutput, x: Tensor, step: int | None = None) -> LossTerms:
        """The loss of pictures x [B, 3, H, W] in [0, 1], in float32 whatever the networks ran in.

        step: of the training, in batches; None outside it, as in a validation.
        """
        raise NotImplementedError
