"""`codec compress` and `codec decompress`: pictures to .lic files and back, one or a folder of them."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from codec.files.bundle import SHIPPED, load_bundle
from codec.files.coding import as_png, decode_batch, reconstruct_batch
from codec.files.container import SUFFIX, is_by, read_container, read_file
from codec.files.devices import chosen_device, on_device
from codec.files.jobs import Job, Outcome, Work, tell
from codec.files.loaded import Bundle
from codec.files.memory import allowed_memory, memory_for_networks
from codec.files.processes import run_on_cores
from codec.files.quality import Wanted, begin_wanted, told_level
from codec.layers.regions import Grid, read_grid
from codec.machine import keep_freed_memory
from codec.types import UserError, printable
from data.folders import list_files, list_images, own_names
from data.images import Picture, picture_size, read_picture


def _compression(bundle: Bundle, grid: Grid | None, wanted: Wanted) -> Work:
    def read(path: Path) -> Picture:
        memory_for_networks(bundle, *picture_size(path))  # before its pixels take any
        return read_picture(path)

    def begin(pictures: Sequence[Picture]) -> Callable[[], list[bytes]]:
        rest = begin_wanted(bundle, torch.stack([picture.image for picture in pictures]), grid, wanted)
        return lambda: [encoded.file for encoded in rest()]

    def said(picture: Picture, file: bytes) -> str:
        rate = f"{len(file)} bytes, {8 * len(file) / picture.image[0].numel():.3f} bpp"
        return "; ".join([rate, *told_level(bundle, file), *picture.remarks])

    return Work(picture_size, read, lambda picture: picture.image.shape[1:], begin, said)


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


def _list_coded(folder: Path) -> list[Path]:
    files = list_files(folder, SUFFIX)
    if not files:
        raise UserError(f"no {SUFFIX} files in {folder}; expected what `codec compress` wrote; check the path")
    return files


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
    taken = [target for _, target in jobs if target.exists()]
    if taken and not (arguments.force or arguments.resume):
        raise UserError(
            f"{taken[0]} is there already ({len(taken)} files); expected a new name; say --force to overwrite, or --resume to "
            "go on with what is missing"
        )
    path = arguments.codec or SHIPPED
    if arguments.codec is None and not path.is_file():
        raise UserError("this installation ships no codec; give a bundle with --codec")
    if arguments.max_memory is None:
        keep_freed_memory()
    cores = torch.get_num_threads()
    torch.set_num_threads(1)
    bundle = on_device(load_bundle(path), chosen_device(arguments.device))
    return replace(bundle, memory=allowed_memory(arguments.max_memory, bundle.device)), cores


def _missing(arguments: argparse.Namespace, jobs: list[Job], is_whole: Callable[[Path], bool]) -> list[Job]:
    """The jobs that are left, which are all unless the command goes on where it was stopped.

    Raises UserError where a file is there that the job would not have written.
    """
    if not arguments.resume:
        return jobs
    for _, target in jobs:
        if target.exists() and not is_whole(target):
            raise UserError(
                f"{target} is there already, and not by this codec; expected what the same command wrote; say --force to "
                "write all of them anew, or name another folder"
            )
    return [job for job in jobs if not job.target.exists()]


def _run(arguments: argparse.Namespace, jobs: list[Job], left: list[Job], outcomes: Iterator[Outcome]) -> int:
    there = len(jobs) - len(left)
    if arguments.input.is_dir() or not left:
        return tell(outcomes, len(left), f"in {arguments.output}" + (f" beside {there} found there" if there else ""))
    job, said, _ = next(outcomes)
    if isinstance(said, UserError):
        raise said
    print(printable(f"{job.target}: {said}"))
    return 0


def compress(arguments: argparse.Namespace) -> int:
    """Write the .lic file of a picture, or of every picture below a folder."""
    grid = None if arguments.grid is None else read_grid(arguments.grid, "--grid")
    jobs = _jobs(arguments, partial(list_images, setting="the input"), SUFFIX)
    bundle, cores = _loaded(arguments, jobs)
    wanted = Wanted(arguments.quality, arguments.bpp, arguments.max_bytes, arguments.psnr).checked(bundle)
    left, work_of = (
        _missing(arguments, jobs, partial(is_by, bundle.fingerprint)),
        partial(_compression, grid=grid, wanted=wanted),
    )
    return _run(arguments, jobs, left, run_on_cores(left, work_of, bundle, arguments.batch, cores))


def decompress(arguments: argparse.Namespace) -> int:
    """Write the PNG file of a .lic file, or of every one below a folder."""
    jobs = _jobs(arguments, _list_coded, ".png")
    bundle, cores = _loaded(arguments, jobs)
    left, work_of = _missing(arguments, jobs, Path.is_file), partial(_decompression, max_pixels=arguments.max_pixels)
    return _run(arguments, jobs, left, run_on_cores(left, work_of, bundle, arguments.batch, cores))
