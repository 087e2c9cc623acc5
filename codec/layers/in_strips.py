"""The networks of a codec in strips: which parts of them are cut, and where a strip may begin."""

from fractions import Fraction
from functools import partial, reduce
from itertools import groupby

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from codec.layers.attention import AttentionBlock, WindowAttention
from codec.layers.region_adaptive import RAT
from codec.layers.regions import Grid, Regions
from codec.layers.strips import Strips, longer_side
from codec.layers.taken import apart


def work_in_strips(network: nn.Module) -> None:
    """Have all sequences of layers in `network`, and its RATs, work in strips where memory asks for it; for good.

    Layers may be in either mode (codec.layers.exact); parameters and results are what they were.
    """
    if isinstance(network, RAT):
        network.forward = RATInStrips(network)  # type: ignore[method-assign]
    elif isinstance(network, nn.Sequential):
        network.forward = Strips(_in_segments(network), unit_of(network))  # type: ignore[method-assign]
    else:
        for child in network.children():
            work_in_strips(child)


def unit_of(network: nn.Module) -> int:
    """Rows of its input at whose multiples a strip of a sequence of layers may begin."""
    unit, scale = Fraction(1), Fraction(1)  # the latter: rows of the input for one where a layer is
    for layer in network.modules():
        if isinstance(layer, WindowAttention):
            unit = max(unit, layer.side * scale)
        elif isinstance(layer, nn.PixelShuffle):
            scale /= layer.upscale_factor
        elif isinstance(layer, _ConvNd) and layer.transposed:
            scale /= int(layer.stride[0])
        elif isinstance(layer, _ConvNd):
            scale *= int(layer.stride[0])
            unit = max(unit, scale)
    assert unit.denominator == 1 or unit < 1
    return max(1, int(unit))


def _in_segments(network: nn.Sequential) -> "_Segments":
    """Its forward pass with attention apart, of which a halo reaches furthest: maps between them are small."""
    runs = groupby(network, lambda layer: isinstance(layer, AttentionBlock))
    return _Segments([nn.Sequential(*layers) for _, layers in runs])


class _Segments:
    """Sequences of layers one after the other, each in strips of its own where there are several."""

    def __init__(self, sequences: list[nn.Sequential]):
        alone = len(sequences) == 1
        self._steps = [sequence if alone else Strips(sequence, unit_of(sequence)) for sequence in sequences]

    def __call__(self, x: Tensor) -> Tensor:
        return reduce(lambda so_far, step: step(so_far), self._steps, x)


class RATInStrips:
    """A RAT's forward pass in two: its gates hang on the means of the whole map."""

    def __init__(self, rat: RAT):
        self._rat = rat
        self._whole = partial(type(rat).forward, rat)
        self._filter, self._finish = Strips(self._filtered, 1), Strips(self._finished, 1)

    def __call__(self, x: Tensor, prototypes: Tensor, regions: Regions) -> Tensor:
        with apart():
            return self._forward(x, prototypes, regions)

    def _forward(self, x: Tensor, prototypes: Tensor, regions: Regions) -> Tensor:
        if not isinstance(regions, Grid):
            return self._whole(x, prototypes, regions)
        along, (height, width) = longer_side(x), x.shape[2:]
        size = (height, regions.cols) if along == 2 else (regions.rows, width)
        guides = self._rat.dkg.expanded(prototypes, regions, size)  # a grid with a cell for each row that a strip may have
        strips = self._filter.cut(x, guides)
        if len(strips) == 1:
            return self._whole(x, prototypes, regions)
        totals = sum(self._rat.cag.totals(part) for part in self._filter.parts(strips, x, guides))
        assert isinstance(totals, Tensor)
        return self._finish(x, guides, gates=self._rat.cag.of_totals(totals, height * width))

    def _filtered(self, x: Tensor, guides: Tensor) -> Tensor:
        return self._rat.filtered(x, guides, Grid(guides.size(2), guides.size(3)))

    def _finished(self, x: Tensor, guides: Tensor, gates: Tensor) -> Tensor:
        return self._rat.gated(x, self._filtered(x, guides), gates)
