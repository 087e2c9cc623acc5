"""`codec compress` and `codec decompress`: pictures to .lic files and back, one or a folder of them."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from codec.files.bundle import SHIPPED, load_bundle
from codec.files.coding import as_png, decode_batch, reconstruct_batch
from codec.files.container import SUFFIX, read_container, read_file
from codec.files.devices import chosen_device, on_device
from codec.files.jobs import Job, Outcome, Work, check_free, missing, tell
from codec.files.level_map import OFFSET, checked_offset, level_offsets
from codec.files.loaded import Bundle
from codec.files.memory import allowed_memory, memory_for_networks
from codec.files.processes import run_on_cores
from codec.files.quality import Wanted, begin_wanted, told_level
from codec.files.resume import Kept
from codec.layers.regions import Grid, read_grid
from codec.machine import give_back_freed_memory, keep_freed_memory
from codec.types import UserError, printable
from data.folders import list_files, list_images, own_names
from data.images import Picture, picture_size, read_picture
from data.quality_maps import quality_maps


class _Content(NamedTuple):
    """A picture, and how many levels more each place of it gets, int64 [h, w], where a map says so."""

    picture: Picture
    offsets: torch.Tensor | None


def _compression(
    bundle: Bundle, grid: Grid | None, wanted: Wanted, better: Callable[[Path], torch.Tensor] | None, offset: float
) -> Work:
    """better: of the file of a picture, its map of quality; offset: what white gets more."""

    def read(path: Path) -> _Content:
        size = picture_size(path)
        memory_for_networks(bundle, *size, keeping=wanted.compares)  # before its pixels take any
        offsets = None if better is None else level_offsets(bundle, better(path), offset, size)
        return _Content(read_picture(path), offsets)

    def alike(content: _Content) -> tuple[object, ...]:
        return *content.picture.image.shape[1:], None if content.offsets is None else content.offsets.numpy().tobytes()

    def begin(contents: Sequence[_Content]) -> Callable[[], list[bytes]]:
        images = torch.stack([content.picture.image for content in contents])
        rest = begin_wanted(bundle, images, grid, wanted, contents[0].offsets)
        return lambda: [encoded.file for encoded in rest()]

    def said(content: _Content, file: bytes) -> str:
        (image, remarks), offsets = content
        rate = f"{len(file)} bytes, {8 * len(file) / image[0].numel():.3f} bpp"
        return "; ".join([rate, *told_level(bundle, file, offsets), *remarks])

    return Work(picture_size, read, alike, begin, said)


def _decompression(bundle: Bundle, max_pixels: int) -> Work:
    def begin(files: Sequence[bytes]) -> Callable[[], list[bytes]]:
        latents, height, width = decode_batch(bundle, files, max_pixels)
        return lambda: [as_png(image) for image in reconstruct_batch(bundle, latents, height, width)]

    def size(path: Path) -> tuple[int, int]:
        width, height, *_ = read_container(read_file(path)).shape
        return height, width

    def alike(file: bytes) -> tuple[object, ...]:
        return read_container(file).shape

    return Work(size, read_file, alike, begin, lambda file, _: "{}x{}".format(*alike(file)[:2]))


def _jobs(arguments: argparse.Namespace, list_folder: Callable[[Path], list[Path]], suffix: str) -> list[Job]:
    source, out = arguments.input, arguments.output
    if source.is_dir():
        sources = list_folder(source)
        names = own_names([path.relative_to(source) for path in sources], suffix)
        return [Job(path, out / name.with_name(name.name + suffix)) for path, name in zip(sources, names, strict=True)]
    if not source.is_file():  # a pipe or a device may never end
        raise UserError(f"no file or folder at {source}; check the path")
    if out.is_dir():
        return [Job(source, out / (source.stem + suffix))]
    if out.suffix.lower() != suffix:  # so that no slip, with --force, writes over the picture itself
        raise UserError(
            f"{out} is to be written; expected a name that ends in {suffix}, or a folder; say {out.with_suffix(suffix)}"
        )
    return [Job(source, out)]


def _loaded(arguments: argparse.Namespace, jobs: list[Job]) -> tuple[Bundle, int]:
    """The codec that was asked for, where the files may be written, and the cores there are, of which torch has one so far."""
    check_free(jobs, allowed=arguments.force or arguments.resume)
    path = arguments.codec or SHIPPED
    if arguments.codec is None and not path.is_file():
        raise UserError("this installation ships no codec; give a bundle with --codec")
    if arguments.max_memory is None:
        keep_freed_memory()
    else:
        give_back_freed_memory()
    cores = torch.get_num_threads()
    torch.set_num_threads(1)
    bundle = on_device(load_bundle(path), chosen_device(arguments.device))
    return replace(bundle, memory=allowed_memory(arguments.max_memory, bundle.device, alone=len(jobs) == 1)), cores


def _run(arguments: argparse.Namespace, jobs: list[Job], left: list[Job], outcomes: Iterator[Outcome], unchecked: str) -> int:
    found = f" beside {len(jobs) - len(left)} found there{unchecked}" if len(left) < len(jobs) else ""
    if arguments.input.is_dir() or not left:
        return tell(outcomes, len(left), f"in {arguments.output}{found}")
    job, said, _ = next(outcomes)
    if isinstance(said, UserError):
        raise said
    print(printable(f"{job.target}: {said}"))
    return 0


def compress(arguments: argparse.Namespace) -> int:
    """Write the .lic file of a picture, or of every picture below a folder."""
    grid = None if arguments.grid is None else read_grid(arguments.grid, "--grid")
    if arguments.roi is None and (arguments.roi_offset, arguments.roi_regions) != (None, None):
        raise UserError("--roi-offset or --roi-regions without --roi; expected a map to use them with; say --roi MAP, too")
    better = None if arguments.roi is None else quality_maps(arguments.input, arguments.roi, arguments.roi_regions)
    jobs = _jobs(arguments, partial(list_images, setting="the input"), SUFFIX)
    bundle, cores = _loaded(arguments, jobs)
    wanted = Wanted(arguments.quality, arguments.bpp, arguments.max_bytes, arguments.psnr).checked(bundle)
    offset = OFFSET if arguments.roi_offset is None else arguments.roi_offset
    if better is not None:
        offset = checked_offset(bundle, offset)
    kept = Kept(bundle, grid, wanted, None if better is None else offset)
    left = missing(jobs, arguments.resume, kept.fault_of)
    work_of = partial(_compression, grid=grid, wanted=wanted, better=better, offset=offset)
    outcomes = run_on_cores(left, work_of, bundle, arguments.batch, cores, keeping=wanted.compares)
    return _run(arguments, jobs, left, outcomes, kept.unchecked)


def decompress(arguments: argparse.Namespace) -> int:
    """Write the PNG file of a .lic file, or of every one below a folder."""
    jobs = _jobs(arguments, partial(list_files, suffix=SUFFIX), ".png")
    bundle, cores = _loaded(arguments, jobs)
    left = missing(jobs, arguments.resume, lambda path: None if path.is_file() else "and no file")
    work_of = partial(_decompression, max_pixels=arguments.max_pixels)
    return _run(arguments, jobs, left, run_on_cores(left, work_of, bundle, arguments.batch, cores), unchecked="")
