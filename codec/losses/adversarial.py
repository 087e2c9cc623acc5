"""The non-saturating losses of a GAN, on logits that are positive for photographs (Goodfellow 2014; HiFiC, eq. 7 and 8)."""

import torch.nn.functional as F
from torch import Tensor


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """-log sigmoid(real) - log(1 - sigmoid(fake)), each averaged over its logits, of any shape."""
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def generator_loss(fake_logits: Tensor) -> Tensor:
    """-log sigmoid(fake), averaged over the logits, of any shape."""
    return F.softplus(-fake_logits).mean()
