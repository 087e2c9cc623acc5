"""Training of a codec against a discriminator (HiFiC, Mentzer et al. 2020): two optimizers, manual optimisation.

B batch, H W height and width of the pictures, M latent channels, h w = H/16 W/16.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from lightning.pytorch.strategies import ParallelStrategy
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer

from codec.losses.adversarial import discriminator_loss, generator_loss
from codec.losses.base import Loss
from codec.models.base import Codec
from codec.models.discriminator import Discriminator
from codec.modules.base import CodecModule
from codec.modules.gradient_means import GradientMeans
from codec.optim.schedules import Schedule
from codec.types import Batch, UserError


class AdversarialModule(CodecModule):
    """Fits a codec to its loss + beta * the generator's loss, and a discriminator to tell what the codec makes of pictures.

    A batch has pictures for both: first the discriminator steps on its half, then the codec on the other, against the
    new discriminator (2 x 8 in the paper). The clocks of Lightning count steps of optimizers; the discriminator's goes
    past it, so that they count batches here too, for schedules, checkpoints and logs.

    beta: weight of the generator's loss. discriminator_lr: the schedule acts on it, too. accumulate: parts of a batch whose
    gradients are summed before a step; each decides for itself about its rate weight. settings: as of CodecModule.
    """

    def __init__(
        self,
        codec: Codec,
        discriminator: Discriminator,
        loss: Loss,
        schedule: Schedule,
        *,
        beta: float,
        discriminator_lr: float,
        accumulate: int = 1,
        **settings: Any,
    ):
        super().__init__(codec, loss, schedule, **settings)
        if not beta > 0:
            raise UserError(f"adversarial.beta={beta}; expected a positive number; without a GAN, set adversarial=null")
        self.automatic_optimization = False
        self.discriminator = discriminator
        self.beta, self.discriminator_lr, self.accumulate = beta, discriminator_lr, accumulate
        self._discriminator_grad_norm: Tensor | None = None
        self._codec_means, self._discriminator_means = (GradientMeans(net.parameters()) for net in (codec, discriminator))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        of_discriminator = {"params": list(self.discriminator.parameters()), "lr": self.discriminator_lr, "of": "networks"}
        return [self._codec_optimizer(), self.make_optimizer([of_discriminator])]

    def _scheduled_groups(self) -> Iterable[tuple[dict[str, Any], float]]:
        of_discriminator = [(group, self.discriminator_lr) for group in self.trainer.optimizers[1].param_groups]
        return [*super()._scheduled_groups(), *of_discriminator]

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        if len(batch.image) % (2 * self.accumulate):
            raise UserError(
                f"a batch of {len(batch.image)} pictures on one rank; expected a multiple of {2 * self.accumulate}, a half for "
                "the codec and a half for the discriminator in each part; set data.batch_size"
            )
        places = self._places(batch).chunk(2 * self.accumulate)
        halves = list(zip(batch.image.chunk(2 * self.accumulate), places, strict=True))  # in turn of codec and discriminator
        codec_optimizer, discriminator_optimizer = self.trainer.optimizers
        strategy, values = self.trainer.strategy, {}
        # DistributedDataParallel wants one backward pass through all parameters, and here each pass reaches one network of two.
        silent = strategy.block_backward_sync() if isinstance(strategy, ParallelStrategy) else nullcontext()
        # Lightning has put autocast around all of this; only _forward wants it, neither gradients nor Muon's products do.
        with silent, torch.autocast(self.device.type, enabled=False):
            discriminator_optimizer.zero_grad()
            for number, half in enumerate(halves[1::2], 1):
                if number == self.accumulate:
                    self._discriminator_means.begin()
                values = self._discriminator_backward(*half)
            bad = self._discriminator_step(discriminator_optimizer)
            codec_optimizer.zero_grad()
            for number, half in enumerate(halves[::2], 1):
                if number == self.accumulate:
                    self._codec_means.begin()
                self._codec_backward(*half, values)
            self._codec_means.finish()
            bad = bad | self._clip_codec(codec_optimizer)
            self._count_skipped(bad)
            self.optimizers()[0].step()  # type: ignore[index]  # by way of Lightning, whose clock moves with it

    @contextmanager
    def _forward(self) -> Iterator[None]:
        """The precision that was asked for, for a pass through the networks and its loss."""
        with self.trainer.precision_plugin.forward_context():
            yield
        torch.clear_autocast_cache()  # else the next pass meets the weights of before the step, or without gradient

    def _discriminator_backward(self, image: Tensor, places: Tensor) -> dict[str, Tensor]:
        """Gradients of the discriminator for pictures [B, 3, H, W] and what the codec makes of them; what is logged."""
        with torch.no_grad(), self._forward():
            output = self.codec(image, self._noise(places), levels=self._levels(places))
        with self._forward():
            logits = self._logits(torch.cat((image, output.x_hat)), torch.cat((output.y_hat, output.y_hat)))
            real, fake = logits.chunk(2)
            loss = discriminator_loss(real, fake)
        self.manual_backward(loss / self.accumulate)
        real, fake = real.detach(), fake.detach()
        return {
            "discriminator_loss": loss.detach(),
            "real_logits": real.mean(), "fake_logits": fake.mean(),
            "real_accuracy": (real > 0).float().mean(), "fake_accuracy": (fake < 0).float().mean(),
        }  # fmt: skip

    def _discriminator_step(self, optimizer: Optimizer) -> Tensor:
        """Step, unless a gradient is not finite: then True, on the device."""
        self._discriminator_means.finish()
        self._discriminator_grad_norm, bad = self._clip(optimizer, list(self.discriminator.parameters()))
        optimizer.step()
        return bad

    def _codec_backward(self, image: Tensor, places: Tensor, values: dict[str, Tensor]) -> None:
        """Gradients of the codec for pictures [B, 3, H, W], beside the discriminator's `values` in the log."""
        self.discriminator.requires_grad_(False)  # a constant here, through which the gradient goes to the picture
        with self._forward():
            output = self._codec_forward(image, places)
            terms = self.loss(output, image, self.global_step)
            assert output.y_hat is not None
            generator = generator_loss(self._logits(output.x_hat, output.y_hat.detach()))
            auxiliary = self.codec.auxiliary_loss()
        self.manual_backward((terms.loss + self.beta * generator + auxiliary) / self.accumulate)
        self.discriminator.requires_grad_(True)
        if self._logs_this_step():
            terms = terms._replace(loss=terms.loss + self.beta * generator)
            norm = self._discriminator_grad_norm
            assert norm is not None
            more = {"generator_loss": generator.detach(), "discriminator_grad_norm": norm}
            self._log_step(terms, auxiliary, values | more)

    def _logits(self, x: Tensor, y_hat: Tensor) -> Tensor:
        """The discriminator's logits, in float32 or more whatever it ran in."""
        return self.discriminator(x, y_hat).to(x.dtype)
