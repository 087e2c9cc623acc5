"""LPIPS, the learned perceptual distance (Zhang et al. 2018), v0.1, behind one adapter.

B batch, H W height and width of the pictures, n channels of a feature map.
"""

from pathlib import Path

import torch
from torch import Tensor

from codec.metrics.downloads import published_weights, weights_at
from codec.types import UserError

IMAGENET = {"alex": "AlexNet_Weights", "vgg": "VGG16_Weights", "squeeze": "SqueezeNet1_1_Weights"}  # in torchvision.models
MIN_LPIPS_SIDE = 32  # pixels: below, a network halves the picture away
TOLERANCE = 0.01  # beyond [0, 1]: what resampling leaves
EPSILON = 1e-10  # under the root of a length: lpips adds it outside, where features of 0 have a gradient of 0/0
SEED = 0  # of random features, so that all runs measure with the same


class Lpips:
    """Distance of pictures in [0, 1], one of each, differentiable, in float32 or more.

    net: alex (the papers' choice), vgg or squeeze. weights: of its features: `imagenet` (torchvision's file, downloaded
    once), the path of a file with torchvision's keys, or `random`, which measures something, but not LPIPS, and says so
    in `name`, the key of every log line and result.
    setting: the key of the configuration that has both, for messages.
    Raises UserError for a net or a file that is none, UnavailableError where `imagenet` cannot be had.
    """

    def __init__(self, net: str = "alex", weights: str = "imagenet", setting: str = "loss.perceptual"):
        if net not in IMAGENET:
            raise UserError(f"LPIPS with net={net}; expected one of {', '.join(IMAGENET)}; set {setting}.net")
        import lpips  # here: with torchvision it takes longer than all else that a command imports, and few want it

        self.name = f"lpips_{net}" + ("_random" if weights == "random" else "")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            self._network = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
        if weights != "random":
            self._set_features(_features(net, weights, f"set {setting}.weights"), weights, setting)
        self._network = self._network.eval().requires_grad_(False)
        self._range_is_known = False

    def _set_features(self, state: dict[str, Tensor], source: str, setting: str) -> None:
        """Take the weights over: lpips keeps torchvision's layers in slices, under their numbers."""
        state = {name.removeprefix("features."): value for name, value in state.items()}
        for name, parameter in self._network.net.named_parameters():
            key = name.partition(".")[2]
            if key not in state or state[key].shape != parameter.shape:
                raise UserError(
                    f"{source} has no fitting {key} for LPIPS with net={self._network.pnet_type}; expected torchvision's "
                    f"`features`; set {setting}.net or weights"
                )
            parameter.data.copy_(state[key])

    def _check_range(self, x: Tensor) -> None:
        """Raise UserError for originals beyond [0, 1]; on an accelerator once, since it costs a wait."""
        if self._range_is_known and x.device.type != "cpu":
            return
        low, high = float(x.min()), float(x.max())
        if low < -TOLERANCE or high > 1 + TOLERANCE:
            raise UserError(f"LPIPS of a picture in [{low:.2f}, {high:.2f}]; expected [0, 1]; scale it first")
        self._range_is_known = True

    def __call__(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """The distances [B] of x_hat from x, both [B, 3, H, W] on the scale of [0, 1]; x_hat may be unclamped."""
        self._check_range(x)
        network = self._network.to(x.device, x.dtype)
        with torch.autocast(x.device.type, enabled=False):
            ours, theirs = (network.net(network.scaling_layer(2 * picture - 1)) for picture in (x_hat, x))
            distances = [
                linear((_unit(a) - _unit(b)) ** 2).mean(dim=(1, 2, 3))
                for linear, a, b in zip(network.lins, ours, theirs, strict=True)
            ]
        return torch.stack(distances).sum(dim=0)


def _unit(features: Tensor) -> Tensor:
    """Features [B, n, h, w] at unit length in each place."""
    return features * torch.rsqrt(features.square().sum(dim=1, keepdim=True) + EPSILON)


def _features(net: str, weights: str, remedy: str) -> dict[str, Tensor]:
    if weights != "imagenet":
        return weights_at(Path(weights), "LPIPS", f"{remedy} to it, to imagenet or to random")
    import torchvision.models as backbones

    published = getattr(backbones, IMAGENET[net]).IMAGENET1K_V1
    return published_weights(published.url, "LPIPS", f"{remedy} to a path, or to random for a trial")
