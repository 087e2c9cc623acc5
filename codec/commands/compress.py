"""`codec compress` and `codec decompress`: pictures to .lic files and back, one or a folder of them."""

import argparse
import io
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from PIL import Image
from rich.progress import Progress

from codec.atomic import write_atomically
from codec.files.bundle import SHIPPED, Bundle, load_bundle
from codec.files.coding import decode, encode
from codec.layers.regions import Grid
from codec.types import UserError
from data.images import list_images, read_image

SUFFIX = ".lic"


def _grid(text: str) -> Grid:
    rows, _, cols = text.partition("x")
    if not (rows.isdecimal() and cols.isdecimal()):
        raise UserError(f"--grid {text}; expected rows and columns, such as 4x4; say --grid 4x4")
    return Grid(int(rows), int(cols))


def _compress(bundle: Bundle, source: Path, target: Path, grid: Grid | None = None) -> str:
    begun = time.perf_counter()
    image = read_image(source)
    file = encode(bundle, image, grid).file
    write_atomically(target, file)
    bpp = 8 * len(file) / (image.size(-1) * image.size(-2))
    return f"{target}: {len(file)} bytes, {bpp:.3f} bpp, {time.perf_counter() - begun:.2f} s"


def _decompress(bundle: Bundle, source: Path, target: Path) -> str:
    begun = time.perf_counter()
    image = decode(bundle, source.read_bytes())
    content = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(content, "PNG", compress_level=3)
    write_atomically(target, content.getvalue())
    return f"{target}: {image.size(-1)}x{image.size(-2)}, {time.perf_counter() - begun:.2f} s"


def _targets(sources: list[Path], folder: Path, out: Path, suffix: str) -> list[tuple[Path, Path]]:
    """Each source with its file below `out`, under the same name.

    Raises UserError where two sources would share one, such as a.png and a.jpg.
    """
    pairs = [(source, out / source.relative_to(folder).with_suffix(suffix)) for source in sources]
    seen: dict[Path, Path] = {}
    for source, target in pairs:
        if target in seen:
            raise UserError(f"{seen[target]} and {source} would both become {target}; expected other names; rename one")
        seen[target] = source
    return pairs


def _pairs(arguments: argparse.Namespace, list_folder: Callable[[Path], list[Path]], suffix: str) -> list[tuple[Path, Path]]:
    source, out = arguments.input, arguments.output
    if not source.exists():
        raise UserError(f"no file or folder at {source}; check the path")
    if source.is_dir():
        return _targets(list_folder(source), source, out, suffix)
    if out.is_dir():
        return [(source, out / (source.stem + suffix))]
    if out.suffix.lower() != suffix:  # so that no slip, with --force, writes over the picture itself
        raise UserError(
            f"{out} is to be written; expected a name that ends in {suffix}, or a folder; say {out.with_suffix(suffix)}"
        )
    return [(source, out)]


def _one(work: Callable[[Bundle, Path, Path], str], bundle: Bundle, source: Path, target: Path) -> str:
    """Do the work on one pair; what the file system refuses is the user's to mend."""
    try:
        return work(bundle, source, target)
    except OSError as error:
        raise UserError(f"{source} to {target}: {error}; expected to read the one and write the other; check both") from None


def _run(arguments: argparse.Namespace, pairs: list[tuple[Path, Path]], work: Callable[[Bundle, Path, Path], str]) -> int:
    """Do the work on each pair; files that fail are named, and the exit status says so."""
    taken = [target for _, target in pairs if target.exists()]
    if taken and not arguments.force:
        raise UserError(f"{taken[0]} is there already ({len(taken)} files); expected a new name; say --force to overwrite")
    path = arguments.codec or SHIPPED
    if arguments.codec is None and not path.is_file():
        raise UserError("this installation ships no codec; give a bundle with --codec")
    bundle = load_bundle(path)
    if len(pairs) == 1 and not arguments.input.is_dir():
        print(_one(work, bundle, *pairs[0]))
        return 0
    failed: dict[str, list[Path]] = {}  # by the reason, which is said once
    with Progress() as progress:
        for source, target in progress.track(pairs, description=f"{len(pairs)} files"):
            try:
                progress.console.print(_one(work, bundle, source, target), soft_wrap=True, highlight=False, markup=False)
            except UserError as error:
                reason = str(error).replace(str(source), "the file")
                if reason not in failed:
                    print(f"codec: {source}: {reason}", file=sys.stderr)
                failed.setdefault(reason, []).append(source)
    for reason, (_, *others) in failed.items():
        if others:
            names = ", ".join(map(str, others[:3])) + (", ..." if len(others) > 3 else "")
            print(f"codec: {len(others)} more, such as {names}: {reason}", file=sys.stderr)
    num_failed = sum(map(len, failed.values()))
    print(f"{len(pairs) - num_failed} of {len(pairs)} files in {arguments.output}")
    return 1 if failed else 0


def _list_coded(folder: Path) -> list[Path]:
    files = sorted(folder.rglob("*" + SUFFIX))
    if not files:
        raise UserError(f"no {SUFFIX} files in {folder}; expected what `codec compress` wrote; check the path")
    return files


def compress(arguments: argparse.Namespace) -> int:
    """Write the .lic file of a picture, or of every picture below a folder."""
    grid = None if arguments.grid is None else _grid(arguments.grid)
    return _run(arguments, _pairs(arguments, partial(list_images, setting="the input"), SUFFIX), partial(_compress, grid=grid))


def decompress(arguments: argparse.Namespace) -> int:
    """Write the PNG file of a .lic file, or of every one below a folder."""
    return _run(arguments, _pairs(arguments, _list_coded, ".png"), _decompress)
