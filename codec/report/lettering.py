"""Names in figures, in any script: fonts that have their signs, a legend of all of them."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from rich.console import Console
from rich.markup import escape

FONT = "DejaVu Sans"  # matplotlib brings it along


@cache
def _signs(path: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(path).get_charmap())
    except (RuntimeError, OSError):  # a font that cannot be read has none
        return frozenset()


@cache
def _fonts_for(missing: frozenset[int]) -> tuple[str, ...]:
    """Fonts of this machine that have these signs, few of them; says once for which there is none."""
    from matplotlib.font_manager import fontManager

    chosen: list[str] = []
    left = set(missing)
    for font in sorted(fontManager.ttflist, key=lambda font: (font.style != "normal", font.weight != 400, font.name)):
        if left and left & _signs(font.fname):
            left -= _signs(font.fname)
            chosen.append(font.name)
    if left:
        signs = "".join(map(chr, sorted(left)[:10]))
        text = f"no font on this machine has {signs}: figures have boxes there; install one, such as Noto Sans CJK"
        Console().print(f"[yellow]{escape(text)}", soft_wrap=True)
    return tuple(chosen)


@contextmanager
def lettering(texts: Sequence[str]) -> Iterator[None]:
    """Figures made within have fonts for all signs of the texts, as far as this machine has them; matplotlib warns of none."""
    import matplotlib
    from matplotlib.font_manager import findfont

    own = _signs(str(findfont(FONT)))
    missing = frozenset(ord(sign) for text in texts for sign in text if sign.isprintable()) - own
    families = [FONT, *(_fonts_for(missing) if missing else ())]
    with matplotlib.rc_context({"font.family": families}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def legend(where: Any, entries: Sequence[tuple[Any, str]], **look: Any) -> None:
    """A legend in a figure or axes of lines with their names as they are: matplotlib hides those that begin with _."""
    if entries:
        handles, names = zip(*entries, strict=True)
        for text in where.legend(handles, names, **look).get_texts():
            text.set_parse_math(False)  # a folder gives its set any name, and a run its own
