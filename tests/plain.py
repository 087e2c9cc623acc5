"""WACNN and SegPIC written down plainly and slowly, over weights under their published names.

Every function follows one line of the published description; images, regions, windows and slices are loops. No layer of
codec/ is used. Weights come into being when they are first asked for, so that the same code also yields a state dict.
Double precision throughout.
"""

import math
import zlib

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def value(name: str, shape: tuple[int, ...]) -> Tensor:
    """Weights that make symbols matter, a function of name and shape, float64."""
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    normal = torch.from_numpy(rng.standard_normal(shape))
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "quantiles":
        return torch.tensor([-12.0, 0.0, 12.0], dtype=torch.float64).expand(shape) + normal[:, :, :1] / 4
    if "_matrix" in leaf or "matrices" in name:
        return 0.1 * normal + 0.3
    if "_bias" in leaf or "_factor" in leaf or "biases" in name or "factors" in name:
        return 0.2 * normal
    if leaf == "beta":
        return 1 + 0.05 * normal.abs()
    if leaf == "gamma":
        return 0.02 * normal.abs() / math.sqrt(shape[0]) + 0.3 * torch.eye(shape[0], dtype=torch.float64)
    if leaf.endswith("bias_table"):
        return 0.2 * normal
    gain = 8.0 if name.startswith(("h_a.8", "g_ab.4", "g_ab2.4")) else 1.0  # else z and the prototypes round to zeros
    gain *= {"g_sb": 0.25, "g_sb2": 0.25}.get(name.removesuffix(".0.weight"), 1.0)  # else two inverse GDNs make
    gain *= {"g_sb": 0.1, "g_sb2": 0.1}.get(name.removesuffix(".4.weight"), 1.0)  # thousands of the prototypes
    return 0.05 * normal if len(shape) == 1 else gain * normal / math.sqrt(math.prod(shape[1:]))


class Weights(dict[str, Tensor]):
    """A state dict that grows as it is read."""

    def at(self, name: str, *shape: int) -> Tensor:
        if name not in self:
            self[name] = value(name, shape).float().double()  # as a checkpoint holds it
        assert self[name].shape == shape, name
        return self[name]


def conv(w: Weights, name: str, x: Tensor, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> Tensor:
    weight = w.at(f"{name}.weight", outputs, x.size(1) // groups, kernel, kernel)
    return F.conv2d(x, weight, w.at(f"{name}.bias", outputs), stride, kernel // 2, groups=groups)


def deconv(w: Weights, name: str, x: Tensor, outputs: int) -> Tensor:
    weight = w.at(f"{name}.weight", x.size(1), outputs, 5, 5)
    return F.conv_transpose2d(x, weight, w.at(f"{name}.bias", outputs), stride=2, padding=2, output_padding=1)


def gdn(w: Weights, name: str, x: Tensor, inverse: bool = False) -> Tensor:
    pedestal = 2.0**-36
    channels = x.size(1)
    beta = w.at(f"{name}.beta", channels).clamp(min=math.sqrt(1e-6 + pedestal)) ** 2 - pedestal
    gamma = w.at(f"{name}.gamma", channels, channels).clamp(min=math.sqrt(pedestal)) ** 2 - pedestal
    norm = torch.einsum("ij,bjhw->bihw", gamma, x * x) + beta[:, None, None]
    return x * norm.sqrt() if inverse else x / norm.sqrt()


def residual_unit(w: Weights, name: str, x: Tensor) -> Tensor:
    half = x.size(1) // 2
    inner = F.gelu(conv(w, f"{name}.conv.0", x, half, 1))
    inner = F.gelu(conv(w, f"{name}.conv.2", inner, half, 3))
    return F.gelu(x + conv(w, f"{name}.conv.4", inner, x.size(1), 1))


def window_attention(w: Weights, name: str, x: Tensor, side: int) -> Tensor:
    heads, channels, shift = 8, x.size(1), side // 2
    d = channels // heads
    table = w.at(f"{name}.relative_position_bias_table", (2 * side - 1) ** 2, heads)
    qkv, qkv_bias = w.at(f"{name}.qkv.weight", 3 * channels, channels), w.at(f"{name}.qkv.bias", 3 * channels)
    proj, proj_bias = w.at(f"{name}.proj.weight", channels, channels), w.at(f"{name}.proj.bias", channels)
    height, width = x.shape[-2:]

    def band(place: int, length: int) -> int:
        return 0 if place < length - side else 1 if place < length - shift else 2

    cells = [(r, c) for r in range(side) for c in range(side)]
    bias = torch.stack([
        torch.stack([table[(r - s + side - 1) * (2 * side - 1) + c - t + side - 1] for s, t in cells]) for r, c in cells
    ])  # fmt: skip
    shifted = torch.roll(x, (-shift, -shift), (2, 3))
    out = torch.empty_like(x)
    for top in range(0, height, side):
        for left in range(0, width, side):
            parts = [(band(top + r, height), band(left + c, width)) for r, c in cells]
            mask = torch.tensor([[0.0 if a == b else -100.0 for b in parts] for a in parts], dtype=x.dtype)
            window = shifted[:, :, top : top + side, left : left + side].flatten(2).transpose(1, 2)
            q, k, v = (window @ qkv.T + qkv_bias).split(channels, dim=2)
            attended = []
            for head in range(heads):
                part = slice(head * d, (head + 1) * d)
                weights = q[..., part] * d**-0.5 @ k[..., part].transpose(1, 2) + bias[..., head] + mask
                attended.append(weights.softmax(-1) @ v[..., part])
            projected = torch.cat(attended, dim=2) @ proj.T + proj_bias
            out[:, :, top : top + side, left : left + side] = projected.transpose(1, 2).unflatten(2, (side, side))
    return x + torch.roll(out, (shift, shift), (2, 3))


def attention_block(w: Weights, name: str, x: Tensor, side: int) -> Tensor:
    a = b = x
    for i in range(3):
        a = residual_unit(w, f"{name}.conv_a.{i}", a)
    b = window_attention(w, f"{name}.conv_b.0.attn", b, side)
    for i in (1, 2, 3):
        b = residual_unit(w, f"{name}.conv_b.{i}", b)
    return x + a * torch.sigmoid(conv(w, f"{name}.conv_b.4", b, x.size(1), 1))


def hyper_widths(N: int, M: int) -> tuple[int, int, int]:
    return (3 * M + N) // 4, (M + N) // 2, (M + 3 * N) // 4


def h_a(w: Weights, y: Tensor, N: int, M: int) -> Tensor:
    b, c, d = hyper_widths(N, M)
    for i, outputs, stride in ((0, M, 1), (2, b, 1), (4, c, 2), (6, d, 1)):
        y = F.gelu(conv(w, f"h_a.{i}", y, outputs, 3, stride))
    return conv(w, "h_a.8", y, N, 3, 2)


def h_s(w: Weights, name: str, z_hat: Tensor, N: int, M: int) -> Tensor:
    b, c, d = hyper_widths(N, M)
    x = F.gelu(conv(w, f"{name}.0", z_hat, N, 3))
    x = F.gelu(F.pixel_shuffle(conv(w, f"{name}.2.0", x, 4 * d, 3), 2))
    x = F.gelu(conv(w, f"{name}.4", x, c, 3))
    x = F.gelu(F.pixel_shuffle(conv(w, f"{name}.6.0", x, 4 * b, 3), 2))
    return conv(w, f"{name}.8", x, M, 3)


class Coder:
    """Quantises and counts bits by stream; noise: what is added to the values that are rated, or None to rate rounded ones."""

    def __init__(self, w: Weights, noise: float | None):
        self.w, self.noise = w, noise
        self.bits: dict[str, Tensor] = {}

    def _add(self, stream: str, likelihood: Tensor) -> None:
        bits = -torch.log2(likelihood.clamp(min=1e-9)).sum()
        self.bits[stream] = self.bits.get(stream, torch.zeros(())) + bits

    def factorized(self, stream: str, name: str, z: Tensor) -> Tensor:
        """z [n, C] as it is decoded."""
        medians = self.w.at(f"{name}.quantiles", z.size(1), 1, 3)[:, 0, 1]
        z_hat = torch.round(z - medians) + medians
        rated = z_hat if self.noise is None else z + self.noise
        for channel in range(z.size(1)):

            def cumulative(v: Tensor, channel: int = channel) -> Tensor:
                v = v[None]
                widths = (1, 3, 3, 3, 3, 1)
                for i in range(5):
                    matrix = self.w.at(f"{name}._matrix{i}", z.size(1), widths[i + 1], widths[i])[channel]
                    v = F.softplus(matrix) @ v + self.w.at(f"{name}._bias{i}", z.size(1), widths[i + 1], 1)[channel]
                    if i < 4:
                        factor = self.w.at(f"{name}._factor{i}", z.size(1), widths[i + 1], 1)[channel]
                        v = v + torch.tanh(factor) * torch.tanh(v)
                return torch.sigmoid(v)[0]

            values = rated[:, channel]
            self._add(stream, cumulative(values + 0.5) - cumulative(values - 0.5))
        return z_hat

    def gaussian(self, y: Tensor, scales: Tensor, means: Tensor) -> Tensor:
        y_hat = torch.round(y - means) + means
        rated = y_hat if self.noise is None else y + self.noise
        scales = scales.clamp(min=0.11)
        distance = (rated - means).abs()
        upper, lower = ((sign * 0.5 - distance) / (scales * math.sqrt(2)) for sign in (1, -1))
        self._add("y", (torch.erfc(-upper) - torch.erfc(-lower)) / 2)
        return y_hat


def hyper(coder: Coder, z: Tensor) -> Tensor:
    """z_hat [B, N, h, w]."""
    batch, N, height, width = z.shape
    rows = coder.factorized("z", "entropy_bottleneck", z.permute(0, 2, 3, 1).reshape(-1, N))
    return rows.view(batch, height, width, N).permute(0, 3, 1, 2)


def parameter_net(w: Weights, name: str, x: Tensor, M: int) -> Tensor:
    for i, outputs in ((0, 7 * M // 10), (2, 11 * M // 20), (4, 2 * M // 5), (6, M // 5)):
        x = F.gelu(conv(w, f"{name}.{i}", x, outputs, 3))
    return conv(w, f"{name}.8", x, M // 10, 3)


def slices(coder: Coder, y: Tensor, scales: Tensor, means: Tensor) -> Tensor:
    M = y.size(1)
    done: list[Tensor] = []
    for i in range(10):
        part = y[:, i * M // 10 : (i + 1) * M // 10]
        mean_support, scale_support = torch.cat([means, *done[:5]], 1), torch.cat([scales, *done[:5]], 1)
        mu = parameter_net(coder.w, f"cc_mean_transforms.{i}", mean_support, M)
        sigma = parameter_net(coder.w, f"cc_scale_transforms.{i}", scale_support, M)
        y_hat = coder.gaussian(part, sigma, mu)
        residual = parameter_net(coder.w, f"lrp_transforms.{i}", torch.cat([mean_support, y_hat], 1), M)
        done.append(y_hat + 0.5 * torch.tanh(residual))
    return torch.cat(done, 1)


def padded(x: Tensor) -> Tensor:
    return F.pad(x, (0, -x.size(3) % 64, 0, -x.size(2) % 64), mode="replicate")


def wacnn(w: Weights, x: Tensor, regions: None, N: int, M: int, noise: float | None = None):
    """x_hat and bits by stream of pictures x [B, 3, H, W]."""
    coder = Coder(w, noise)
    y = padded(x)
    y = gdn(w, "g_a.1", conv(w, "g_a.0", y, N, 5, 2))
    y = gdn(w, "g_a.3", conv(w, "g_a.2", y, N, 5, 2))
    y = attention_block(w, "g_a.4", y, 8)
    y = gdn(w, "g_a.6", conv(w, "g_a.5", y, N, 5, 2))
    y = attention_block(w, "g_a.8", conv(w, "g_a.7", y, M, 5, 2), 4)
    z_hat = hyper(coder, h_a(w, y, N, M))
    y_hat = slices(coder, y, h_s(w, "h_scale_s", z_hat, N, M), h_s(w, "h_mean_s", z_hat, N, M))
    out = attention_block(w, "g_s.0", y_hat, 4)
    out = gdn(w, "g_s.2", deconv(w, "g_s.1", out, N), inverse=True)
    out = gdn(w, "g_s.4", deconv(w, "g_s.3", out, N), inverse=True)
    out = attention_block(w, "g_s.5", out, 8)
    out = gdn(w, "g_s.7", deconv(w, "g_s.6", out, N), inverse=True)
    out = deconv(w, "g_s.8", out, 3)
    return out[..., : x.size(2), : x.size(3)], coder.bits


def sal(w: Weights, name: str, x: Tensor) -> Tensor:
    channels = x.size(1)
    both = conv(w, f"{name}.2", F.gelu(conv(w, f"{name}.0", x, channels, 1)), 2 * channels, 1)
    return x * (1 + both[:, :channels]) + both[:, channels:]


def down(w: Weights, name: str, x: Tensor, outputs: int) -> Tensor:
    x = gdn(w, f"{name}.conv_groups.1", conv(w, f"{name}.conv_groups.0", x, outputs, 5, 2))
    return sal(w, f"{name}.scales_bias", x)


def up(w: Weights, name: str, x: Tensor, outputs: int) -> Tensor:
    x = deconv(w, f"{name}.conv_groups.0", sal(w, f"{name}.scales_bias", x), outputs)
    return gdn(w, f"{name}.conv_groups.1", x)


def rat(w: Weights, name: str, x: Tensor, prototypes: Tensor) -> Tensor:
    """prototypes: [B, C, h, w], those of the region at each position."""
    c = x.size(1)
    content = conv(w, f"{name}.conv.2", F.leaky_relu(conv(w, f"{name}.conv.0", x, c, 1), 0.1), c, 1)
    k = F.leaky_relu(conv(w, f"{name}.k_sp_gen.0", torch.cat([content, prototypes], 1), c, 1), 0.1)
    k = F.leaky_relu(conv(w, f"{name}.k_sp_gen.2", k, c, 3), 0.1)
    k = conv(w, f"{name}.k_sp_gen.4", k, 9 * c, 3, groups=c)
    o = published_dps_conv(content, k)
    a = F.leaky_relu(conv(w, f"{name}.k_ch_gen.1", o.mean((2, 3), keepdim=True), c, 1), 0.1)
    a = torch.sigmoid(conv(w, f"{name}.k_ch_gen.3", a, c, 1))
    return x + conv(w, f"{name}.conv_out", a * o, c, 1)


def published_dps_conv(x: Tensor, kernels: Tensor) -> Tensor:
    """x [B, C, H, W], kernels [B, 9 C, H, W] with tap j of channel i as channel 9 i + j: unfold and einsum."""
    batch, channels, height, width = x.shape
    taps = F.unfold(x, 3, padding=1).view(batch, channels, 9, height, width)
    return torch.einsum("bcjhw,bcjhw->bchw", taps, kernels.view(batch, channels, 9, height, width))


def prototypes(
    coder: Coder, stream: str, suffix: str, widths: tuple[int, int, int, int, int], features: Tensor, regions: Tensor | None
) -> Tensor:
    """The decoded prototype at each position, [B, C, h, w], image by image and region by region; grid 4x4 for None."""
    analysis, synthesis, density = f"g_ab{suffix}", f"g_sb{suffix}", f"entropy_bottleneck_b{suffix}"
    a, b, coded, out_a, out_b = widths
    w, (batch, c, height, width) = coder.w, features.shape
    out = torch.empty_like(features)
    for image in range(batch):
        if regions is None:
            places = [
                (slice(r * height // 4, (r + 1) * height // 4), slice(s * width // 4, (s + 1) * width // 4))
                for r in range(4) for s in range(4)
            ]  # fmt: skip
            means = [features[image][:, rows, cols].mean((1, 2)) for rows, cols in places]
        else:
            places = [regions[image] == i for i in regions[image].unique()]
            means = [(features[image] * here).sum((1, 2)) / (here.sum() + 0.0005) for here in places]
        p = torch.stack(means)[:, :, None, None]
        p = gdn(w, f"{analysis}.1", conv(w, f"{analysis}.0", p, a, 1))
        p = gdn(w, f"{analysis}.3", conv(w, f"{analysis}.2", p, b, 1))
        p = coder.factorized(stream, density, conv(w, f"{analysis}.4", p, coded, 1)[:, :, 0, 0])[:, :, None, None]
        p = gdn(w, f"{synthesis}.1", conv(w, f"{synthesis}.0", p, out_a, 1), inverse=True)
        p = gdn(w, f"{synthesis}.3", conv(w, f"{synthesis}.2", p, out_b, 1), inverse=True)
        p = conv(w, f"{synthesis}.4", p, c, 1)[:, :, 0, 0]
        for place, prototype in zip(places, p, strict=True):
            if regions is None:
                out[(image, slice(None), *place)] = prototype[:, None, None]
            else:
                out[image][:, place] = prototype[:, None]
    return out


def segpic(w: Weights, x: Tensor, regions: Tensor | None, N: int, M: int, noise: float | None = None):
    """x_hat and bits by stream of pictures x [B, 3, H, W]; regions [B, H, W] or None for the grid."""
    coder = Coder(w, noise)
    fine = coarse = None
    if regions is not None:
        ids = padded(regions[:, None].double())[:, 0]
        fine = ids[:, ::4, ::4]
        coarse = fine[:, ::4, ::4]
    y1 = down(w, "basic_E.1", down(w, "basic_E.0", padded(x), N), N)
    y1 = attention_block(w, "g_a1.2", y1, 8)
    p1 = prototypes(coder, "p1", "", (N * 2 // 3, N // 2, N // 2, N * 2 // 3, N), y1, fine)
    y = rat(w, "dyn_encoder", y1, p1)
    y = attention_block(w, "g_a2.2", down(w, "basic_E.3", down(w, "basic_E.2", y, N), M), 4)
    p2 = prototypes(coder, "p2", "2", (N, N * 2 // 3, N // 2, N * 2 // 3, N), y, coarse)
    z_hat = hyper(coder, h_a(w, rat(w, "dyn_enc_hyper", y, p2), N, M))
    scales = rat(w, "dyn_dec_hyper_scales", h_s(w, "h_scale_s", z_hat, N, M), p2)
    means = rat(w, "dyn_dec_hyper_means", h_s(w, "h_mean_s", z_hat, N, M), p2)
    out = attention_block(w, "g_s0.0", slices(coder, y, scales, means), 4)
    out = rat(w, "dyn_decoder", up(w, "basic_D.1", up(w, "basic_D.0", out, N), N), p1)
    out = attention_block(w, "g_s1.0", out, 8)
    out = up(w, "basic_D.3", up(w, "basic_D.2", out, N), N // 6)
    out = conv(w, "g_s1.3", out, 3, 1)
    return out[..., : x.size(2), : x.size(3)], coder.bits


MODELS = {"wacnn": wacnn, "segpic": segpic}


def aliased(w: Weights) -> dict[str, Tensor]:
    """The state dict as published: the layers of basic_E and basic_D under both of their names."""
    twice = {"basic_E.0": "g_a1.0", "basic_E.1": "g_a1.1", "basic_E.2": "g_a2.0", "basic_E.3": "g_a2.1"}
    twice |= {"basic_D.0": "g_s0.1", "basic_D.1": "g_s0.2", "basic_D.2": "g_s1.1", "basic_D.3": "g_s1.2"}
    again = {twice[name[:9]] + name[9:]: tensor for name, tensor in w.items() if name[:9] in twice}
    return {**w, **again}
