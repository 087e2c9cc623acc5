"""The attention block of WACNN (Zou et al. 2022): shifted-window attention inside a residual gate.

B batch, C channels, H W height and width of a feature map, s side of a window, n = s^2 positions of one, k windows of a
picture, d channels of a head.
"""

import torch
from torch import Tensor, nn

from codec.layers.gelu import GELU

HEADS = 8
ACROSS_BORDERS = -100.0  # added to the attention between positions that only the cyclic shift made neighbours


def _relative_positions(side: int) -> Tensor:
    """int64 [n, n]: the row of the bias table for each pair of positions of a window; 2 side - 1 offsets on each axis."""
    places = torch.cartesian_prod(torch.arange(side), torch.arange(side))
    offsets = places[:, None] - places[None] + side - 1
    return offsets[..., 0] * (2 * side - 1) + offsets[..., 1]


def _windows(x: Tensor, side: int) -> Tensor:
    """[B, k, n, C] of x [B, H, W, C], whose sides are multiples of `side`."""
    batch, height, width, channels = x.shape
    squares = x.view(batch, height // side, side, width // side, side, channels).transpose(2, 3)
    return squares.reshape(batch, -1, side * side, channels)


def _unwindowed(windows: Tensor, side: int, height: int, width: int) -> Tensor:
    """[B, H, W, C] of windows [B, k, n, C]."""
    batch, channels = windows.size(0), windows.size(-1)
    squares = windows.view(batch, height // side, width // side, side, side, channels).transpose(2, 3)
    return squares.reshape(batch, height, width, channels)


class WindowAttention(nn.Module):
    """x + multi-head attention within windows of `side`, after a cyclic shift by half of it (Liu 2021, Swin).

    No norm and no multilayer perceptron. Shift and mask apply also where the map is a single window, as published.
    """

    relative_positions: Tensor

    def __init__(self, channels: int, side: int):
        super().__init__()
        self.side, self.shift = side, side // 2
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.bias_table = nn.Parameter(nn.init.trunc_normal_(torch.empty((2 * side - 1) ** 2, HEADS), std=0.02))
        self.register_buffer("relative_positions", _relative_positions(side), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        shifted = torch.roll(x.permute(0, 2, 3, 1), (-self.shift, -self.shift), dims=(1, 2))
        attended = self.proj(self._attend(_windows(shifted, self.side), self._bias(height, width)))
        back = torch.roll(_unwindowed(attended, self.side, height, width), (self.shift, self.shift), dims=(1, 2))
        return x + back.permute(0, 3, 1, 2)

    def _attend(self, windows: Tensor, bias: Tensor) -> Tensor:
        """[B, k, n, C] of windows [B, k, n, C], bias [k, HEADS, n, n]."""
        q, k, v = self.qkv(windows).unflatten(-1, (3, HEADS, -1)).permute(3, 0, 1, 4, 2, 5)  # each [B, k, HEADS, n, d]
        # Without autocast: it would widen to float32 what the product has rounded to bf16 already.
        with torch.autocast(windows.device.type, enabled=False):
            weights = ((q * q.size(-1) ** -0.5) @ k.transpose(-2, -1)).add_(bias.to(q.dtype))
            return (weights.softmax(dim=-1) @ v).transpose(2, 3).flatten(-2)

    def _bias(self, height: int, width: int) -> Tensor:
        """[k, HEADS, n, n]: what relative positions and the borders add."""
        return self.positions() + self.borders(height, width)

    def positions(self) -> Tensor:
        """[HEADS, n, n]: what is added for the place of a position relative to another."""
        n = self.side**2
        rows = self.bias_table.index_select(0, self.relative_positions.flatten())
        return rows.view(n, n, HEADS).permute(2, 0, 1).contiguous()  # as the weights are: in another order adding takes longer

    def borders(self, height: int, width: int) -> Tensor:
        """[k, 1, n, n]: what is added between positions on two sides of a border that the shift wraps around."""
        rows, cols = (self._bands(length, self.bias_table.device) for length in (height, width))
        parts = _windows((3 * rows[:, None] + cols)[None, :, :, None], self.side)[0, :, :, 0]
        return ACROSS_BORDERS * (parts[:, :, None] != parts[:, None])[:, None].to(self.bias_table)

    def _bands(self, length: int, device: torch.device) -> Tensor:
        """int64 [length]: 0, and 1 and 2 for the last window's positions before and after the wrapped border."""
        place = torch.arange(length, device=device)
        return (place >= length - self.side).long() + (place >= length - self.shift).long()


class ResidualUnit(nn.Module):
    """GELU(x + three convolutions through half the channels), [B, C, H, W]."""

    def __init__(self, channels: int):
        super().__init__()
        half = channels // 2
        self.conv = nn.Sequential(
            nn.Conv2d(channels, half, 1), GELU(),
            nn.Conv2d(half, half, 3, padding=1), GELU(),
            nn.Conv2d(half, channels, 1),
        )  # fmt: skip
        self.gelu = GELU()

    def forward(self, x: Tensor) -> Tensor:
        return self.gelu(self.conv(x).add_(x))


class AttentionBlock(nn.Module):
    """x + a(x) sigmoid(b(x)), where b looks at the windows of x: [B, C, H, W], sides multiples of `side`."""

    def __init__(self, channels: int, side: int):
        super().__init__()
        self.conv_a = nn.Sequential(*(ResidualUnit(channels) for _ in range(3)))
        self.conv_b = nn.Sequential(
            WindowAttention(channels, side), *(ResidualUnit(channels) for _ in range(3)), nn.Conv2d(channels, channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return (self.conv_a(x) * torch.sigmoid(self.conv_b(x))).add_(x)
