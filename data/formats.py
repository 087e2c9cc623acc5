"""Which formats of pictures are read, and what a file is that has none of them."""

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from PIL import Image, features


class Plugin(NamedTuple):
    """A format that Pillow reads where a package is installed.

    module: the package's; registration: its function that tells Pillow, or None where importing it does.
    """

    package: str
    module: str
    registration: str | None
    beginnings: tuple[bytes, ...]


FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jfif"), "PNG": (".png",), "WEBP": (".webp",), "BMP": (".bmp",), "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif",), "HEIF": (".heic", ".heif"), "JXL": (".jxl",),
}  # fmt: skip
PLUGINS = {
    "HEIF": Plugin("pillow-heif", "pillow_heif", "register_heif_opener", (b"ftypheic", b"ftypheix", b"ftyphevc", b"ftypmif1")),
    "JXL": Plugin("pillow-jxl-plugin", "pillow_jxl", None, (b"\xff\x0a", b"\0\0\0\x0cJXL ")),
}
FORMAT_OF = {suffix: name for name, suffixes in FORMATS.items() for suffix in suffixes}
EXPECTED = "JPEG, PNG, WebP, BMP, TIFF or AVIF"


@cache
def formats() -> tuple[str, ...]:
    """Those of FORMATS that are read here, by Pillow's names: no file is opened as another, whatever it is called.

    For some that are not here Pillow starts programs: Ghostscript for EPS.
    """
    found = [name for name in FORMATS if name not in PLUGINS and (name != "AVIF" or features.check("avif"))]
    for name, plugin in PLUGINS.items():
        if find_spec(plugin.module) is not None:
            module = import_module(plugin.module)
            if plugin.registration is not None:
                getattr(module, plugin.registration)()
            found.append(name)
    return tuple(found)


def what_lacks(suffix: str) -> str | None:
    """What is missing to read files of a suffix, in words; None where nothing is. The suffix is one of FORMAT_OF."""
    name = FORMAT_OF[suffix]
    return None if name in formats() else PLUGINS[name].package if name in PLUGINS else f"a Pillow with {name}"


def why_none(path: Path) -> str:
    """Why a file is no picture that is read here."""
    with path.open("rb") as file:
        head = file.read(16)
    if not head:
        return "it is empty"
    for name, plugin in PLUGINS.items():
        if name not in formats() and any(head.startswith(mark, at) for mark in plugin.beginnings for at in (0, 4)):
            return f"it is {name}; install {plugin.package} to read it"
    Image.init()
    for name in (*formats(), *sorted(set(Image.ID) - set(formats()))):
        if _begins_like(name, head.ljust(16, b"\0")):  # some readers take no less
            return _own_reason(name, path) if name in formats() else f"it is {name}"
    return "it begins like no picture"


def _begins_like(name: str, head: bytes) -> bool:
    accept = Image.OPEN[name][1]
    return accept is not None and bool(accept(head))


def _own_reason(name: str, path: Path) -> str:
    """What the reader of a format says, which Pillow keeps to itself where no other format fits either."""
    try:
        with path.open("rb") as file:
            Image.OPEN[name][0](file, "")
    except Exception as error:  # of any kind: it is what is asked for
        return f"{name}: {' '.join(str(error).split()) or type(error).__name__}"
    return f"{name} of no kind that is read"
