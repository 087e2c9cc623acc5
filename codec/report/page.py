"""The page of a report: one file of HTML that holds all that it needs and asks no network for anything."""

import html
import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from codec.atomic import write_atomically

PARTS = files("codec.report") / "page"
SCRIPTS = ("dom", "chart", "rates", "savings", "pictures", "compare", "training", "page")  # in this order


def in_script(data: Mapping[str, Any]) -> str:
    """The data as JSON that ends no element of HTML, whatever names are in it."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e").replace("\u2028", "\\u2028")


def write_page(data: Mapping[str, Any], path: Path) -> int:
    """Write the page of a report's data (codec.report.payload); its size in bytes."""
    filled = {
        "title": html.escape(data["title"]),
        "style": (PARTS / "page.css").read_text(),
        "script": "\n".join((PARTS / f"{name}.js").read_text() for name in SCRIPTS),
        "data": in_script(data),
    }
    head, *rest = (PARTS / "page.html").read_text().split("{{")
    text = head + "".join(filled[name] + after for name, _, after in (part.partition("}}") for part in rest))
    page = text.encode(errors="backslashreplace")  # a folder's name may hold bytes that are no text
    write_atomically(path, page)
    return len(page)
