"""Training of any codec for rate and distortion: one Adam, automatic optimisation."""

from typing import Any

from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer

from codec.modules.base import CodecModule
from codec.types import Batch


class RateDistortionModule(CodecModule):
    """Fits a codec to rate + lmbda * distortion, and its quantiles to the auxiliary loss, in one backward pass."""

    def configure_optimizers(self) -> OptimizerLRScheduler:
        return self._codec_optimizer()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        output = self._codec_forward(batch.image, self._places(batch), batch.regions)
        terms = self.loss(output, batch.image, self.global_step)
        auxiliary = self.codec.auxiliary_loss()
        if self._logs_this_step():
            self._log_step(terms, auxiliary)
        return terms.loss + auxiliary

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        optimizer.zero_grad()  # now: Lightning keeps them until the activations of the next step are there too

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        self._count_skipped(self._clip_codec(optimizer))
