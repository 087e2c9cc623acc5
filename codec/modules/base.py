"""What the trainings of a codec share: its optimizer, steps that are skipped, validation, schedules, logs."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from codec.entropy.noise import NoiseByPlace, numbers_by_place
from codec.losses.base import Loss, LossTerms
from codec.models.base import Codec
from codec.modules.means import Means
from codec.optim.schedules import Schedule
from codec.types import Batch, CodecOutput, UserError

MAX_SKIPPED_IN_A_ROW = 10
NUM_VALIDATED = 5  # levels, of a codec that has several


ParameterGroups = list[dict[str, Any]]
"""What an optimizer takes: `params` and `lr` of each group, and whose they are (`of`: networks or quantiles)."""


def _gradient_norm(parameters: Sequence[nn.Parameter]) -> Tensor:
    return nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])


class CodecModule(lightning.LightningModule):
    """The part of a training that does not depend on what is optimised against what.

    The codec's optimizer has a parameter group of the quantiles, which stands for the papers' optimizer of their own: the
    auxiliary loss moves nothing but the quantiles, and nothing else moves them. A step whose gradient is not finite is
    skipped on the device.

    optimizer: makes the optimizer of some parameter groups; of all networks. One that honours `found_inf`, as torch's fused
    ones do, skips a step without a wait for the device.
    lr, quantiles_lr: of the networks and densities, and of the quantiles; schedule acts on the first alone.
    clip_norm: limit on the gradient norm of all but the quantiles, or None.
    seed: of the noise of training.
    """

    def __init__(
        self,
        codec: Codec,
        loss: Loss,
        schedule: Schedule,
        *,
        optimizer: Callable[[ParameterGroups], Optimizer],
        lr: float,
        quantiles_lr: float,
        clip_norm: float | None,
        seed: int,
    ):
        super().__init__()
        self.codec = codec
        self.loss = loss
        self.schedule = schedule
        self.make_optimizer = optimizer
        self.lr, self.quantiles_lr, self.clip_norm = lr, quantiles_lr, clip_norm
        self.seed = seed
        # On the device: reading them costs a wait, so they are read where the step is logged anyway.
        for name in ("skipped_steps", "skipped_in_a_row", "first_skipped_step"):
            self.register_buffer(name, torch.zeros((), dtype=torch.int64))
        self.skipped_steps: Tensor
        self.skipped_in_a_row: Tensor
        self.first_skipped_step: Tensor
        self._grad_norm: Tensor | None = None
        self._validation = Means()

    def _codec_optimizer(self) -> Optimizer:
        quantiles = [density.quantiles for _, density in self.codec.densities()]
        of_quantiles = {id(p) for p in quantiles}
        others = [p for p in self.codec.parameters() if p.requires_grad and id(p) not in of_quantiles]
        return self.make_optimizer([
            {"params": others, "lr": self.lr, "of": "networks"},
            {"params": quantiles, "lr": self.quantiles_lr, "of": "quantiles"},
        ])  # fmt: skip

    def _scheduled_groups(self) -> Iterable[tuple[dict[str, Any], float]]:
        """The parameter groups on which the schedule acts, with their learning rates at a factor of 1."""
        return [(group, self.lr) for group in self.trainer.optimizers[0].param_groups if group["of"] == "networks"]

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        accumulate = self.trainer.accumulate_grad_batches
        self._batch = self.global_step * accumulate + batch_idx % accumulate
        # For what a model draws itself: a resumed run draws what an uninterrupted one does.
        torch.manual_seed(hash((self.seed, self._batch, self.global_rank)) & 0x7FFFFFFF)
        for group, lr in self._scheduled_groups():
            group["lr"] = lr * self.schedule.factor(self.global_step)

    def _clip_codec(self, optimizer: Optimizer) -> Tensor:
        """Clip the codec's gradients; whether the step is skipped, as a bool on the device."""
        networks, quantiles = (
            [p for group in optimizer.param_groups if group["of"] == whose for p in group["params"]]
            for whose in ("networks", "quantiles")
        )
        self._grad_norm, bad = self._clip(optimizer, networks, quantiles)
        return bad

    def _clip(
        self, optimizer: Optimizer, networks: list[nn.Parameter], unclipped: Sequence[nn.Parameter] = ()
    ) -> tuple[Tensor, Tensor]:
        """Clip the gradients of `networks`, skip a step where one is not finite; their norm, and whether it is skipped."""
        norm = _gradient_norm(networks)
        bad = ~torch.isfinite(norm + _gradient_norm(unclipped))
        if self.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(networks, self.clip_norm, norm)
        if getattr(optimizer, "_step_supports_amp_scaling", False):
            # The optimizer leaves parameters, moments and its own clock alone where found_inf is 1.
            optimizer.grad_scale = None  # type: ignore[attr-defined]
            optimizer.found_inf = bad.float()  # type: ignore[attr-defined]
        elif bad:  # a wait for the device
            optimizer.zero_grad()  # to None: there is nothing to step along
        return norm, bad

    def _count_skipped(self, bad: Tensor) -> None:
        """Count a step, skipped where `bad`; before the clock moves on."""
        self.first_skipped_step.copy_(
            torch.where(bad & (self.skipped_in_a_row == 0), self.global_step, self.first_skipped_step)
        )
        self.skipped_in_a_row.copy_(torch.where(bad, self.skipped_in_a_row + 1, 0))
        self.skipped_steps.add_(bad)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        if self.global_step % self._log_every() == 0 and self._grad_norm is not None:
            self.log_dict({"train/grad_norm": self._grad_norm, "train/skipped_steps": self.skipped_steps.float()})
            if self.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
                raise UserError(
                    f"the gradient is not finite since step {int(self.first_skipped_step)} "
                    f"({int(self.skipped_in_a_row)} steps in a row were skipped, the weights are those before it); "
                    "expected finite gradients; check the data, or lower optim.lr, and start again from last.ckpt"
                )

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        passes = list(self._over_levels(batch.image))
        values = {name: torch.stack([one[name] for _, _, one in passes]).mean(0) for name in passes[0][2]}
        for level, _, one in passes if len(passes) > 1 else []:
            values |= {f"{name}_level_{level}": value for name, value in one.items()}
        if self.codec.grid is not None and batch.regions is not None:
            # The codec will not have these regions: what they would be worth, for comparison.
            with_map = [one["val/loss"] for _, _, one in self._over_levels(batch.image, batch.regions)]
            values["val/masked_loss"] = torch.stack(with_map).mean(0)
        self._validation.add(values, 0 if batch.again else len(batch.image))
        _, x_hat, shown = passes[len(passes) // 2]
        return {"x_hat": x_hat, "bpp": shown["val/bpp"], "psnr": shown["val/psnr"]}

    def _over_levels(
        self, image: Tensor, regions: Tensor | None = None
    ) -> Iterator[tuple[int | None, Tensor, dict[str, Tensor]]]:
        """Levels spread over the codec's, or None, with what pictures [B, 3, H, W] become there, and its means by name."""
        for level in [None] if self.codec.levels is None else self.codec.levels.spread(NUM_VALIDATED):
            levels = None if level is None else torch.full((len(image),), level, device=image.device)
            output = self.codec(image, regions=regions, levels=levels)
            terms = self.loss(output, image)
            values = {"val/loss": terms.loss, "val/bpp": terms.bpp, "val/psnr": terms.psnr(), "val/mse": terms.mse}
            yield level, output.x_hat, values | {f"val/{name}": value for name, value in terms.further.items()}

    def on_validation_epoch_end(self) -> None:
        means = self._validation.take()
        # The loggers' axis: Lightning's own is one behind.
        self.log_dict(means | {"step": float(self.global_step)}, batch_size=1)
        if not self.trainer.sanity_checking:
            self.schedule.observe(means["val/loss"])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["schedule"] = self.schedule.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.schedule.load_state_dict(checkpoint["schedule"])

    def _places(self, batch: Batch) -> Tensor:
        """The places of the pictures in the batch over all ranks, int32 [B]: data/sampler.py deals them out in turn."""
        rank, world = self.trainer.global_rank, self.trainer.world_size
        return torch.arange(rank, len(batch.image) * world, world, dtype=torch.int32, device=batch.image.device)

    def _noise(self, places: Tensor) -> NoiseByPlace:
        """That of a pass over the pictures at these places of the batch."""
        return NoiseByPlace(self.seed, self._batch, places)

    def _levels(self, places: Tensor) -> Tensor | None:
        """The level of each picture at these places, int64 [B], one for all where all share a decision about the rate.

        A function of seed, step and place, so that a resumed run and another number of processes see the same.
        """
        if self.codec.levels is None:
            return None
        places = torch.zeros_like(places) if self.loss.steers else places
        return numbers_by_place(self.seed, self._batch, places, self.codec.levels.count)

    def _codec_forward(self, image: Tensor, places: Tensor, regions: Tensor | None = None) -> CodecOutput:
        """The codec's output of training on image [B, 3, H, W] at places [B], with the rates that the loss asks for."""
        return self.codec(image, self._noise(places), regions, quantized=self.loss.steers, levels=self._levels(places))

    def _log_every(self) -> int:
        return self.trainer.log_every_n_steps  # type: ignore[attr-defined]

    def _logs_this_step(self) -> bool:
        return (self.global_step + 1) % self._log_every() == 0

    def _log_step(self, terms: LossTerms, auxiliary: Tensor, more: dict[str, Tensor] | None = None) -> None:
        """Log the terms of a step, and whatever `more` there is by name."""
        values = {"loss": terms.loss.detach(), "bpp": terms.bpp, "psnr": terms.psnr(), "mse": terms.mse}
        values |= {f"bpp_{name}": value for name, value in terms.bpp_by_stream.items()}
        values |= {"distortion": terms.distortion, "aux": auxiliary.detach()} | (more or {}) | terms.further
        if terms.decision is not None:
            values |= {"quantized_bpp": terms.decision.quantized_bpp, "rate_weight": terms.decision.rate_weight}
            values["target_bpp"] = torch.as_tensor(terms.decision.target_bpp)
        values["lr"] = torch.tensor(self.lr * self.schedule.factor(self.global_step))
        self.log_dict({f"train/{name}": value for name, value in values.items()} | {"step": float(self.global_step + 1)})
