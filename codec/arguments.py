"""What each command takes that is not composed by Hydra. Nothing heavy is imported."""

import argparse
import os
from pathlib import Path


def _path(text: str) -> Path:
    if not text:  # which Path takes for the current folder
        raise argparse.ArgumentTypeError("an empty path; expected that of a file or a folder")
    return Path(text)


def _number(text: str) -> int:
    if not (text.isdecimal() and 0 < len(text) < 10 and int(text)):
        raise argparse.ArgumentTypeError(f"{text[:20]}; expected a whole number from 1")
    return int(text)


def _bytes(text: str, *words: str) -> int:
    from codec.types import UserError, read_size

    try:
        return read_size(text, *words)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _file_bytes(text: str) -> int:
    return _bytes(text, "the size of a file", "20K, or of whole bytes, such as 20000")


def _regions(text: str) -> list[int]:
    words = text.split(",")
    if not all(word.isdecimal() and len(word) < 6 for word in words):
        raise argparse.ArgumentTypeError(f"{text[:20]}; expected numbers of regions, such as 3,5")
    return [int(word) for word in words]


def _files(parser: argparse.ArgumentParser, source: str, target: str) -> None:
    parser.add_argument("input", type=_path, help=source)
    parser.add_argument("output", type=_path, help=target)
    parser.add_argument("--codec", type=_path, help="a bundle (codec.safetensors); default: the shipped codec")
    there = parser.add_mutually_exclusive_group()
    there.add_argument("--force", action="store_true", help="overwrite what is there")
    there.add_argument("--resume", action="store_true", help="go on with what is missing, where an earlier command was stopped")
    parser.add_argument(
        "--device", default="cpu", choices=["cpu", "cuda", "mps", "auto"],
        help="where the networks compute (default: cpu); files decode on any, whichever wrote them",
    )  # fmt: skip
    parser.add_argument(
        "--batch", type=_number, help="pictures of one size that are coded together (default: 8 on cuda, 4 on mps, 1 on cpu)"
    )
    parser.add_argument(
        "--max-memory", type=_bytes, metavar="SIZE",
        help="what the command may take, such as 3G: larger pictures are coded in strips (default: most of what is free)",
    )  # fmt: skip


def of_compress(parser: argparse.ArgumentParser) -> None:
    _files(parser, "a picture or a folder of pictures", "the .lic file or the folder of .lic files to write")
    parser.add_argument(
        "--grid", metavar="ROWSxCOLS", help="the regions of a codec that adapts to them (default: its own, such as 4x4)"
    )
    rate = parser.add_mutually_exclusive_group()  # of a codec that has several
    rate.add_argument("--quality", type=float, metavar="0..100", help="the rate, of a codec that has several (default: 50)")
    rate.add_argument("--bpp", type=float, help="the largest files of at most so many bits per pixel of their pictures")
    rate.add_argument(
        "--max-bytes", type=_file_bytes, metavar="SIZE", help="the largest files of at most so many bytes, such as 20K"
    )
    rate.add_argument(
        "--psnr", type=float, metavar="DB",
        help="files whose pictures have at least so many dB, at the lowest level that bisection finds: of photographs, the "
        "smallest files",
    )  # fmt: skip
    parser.add_argument(
        "--roi", type=_path, metavar="MAP",
        help="where a picture is better, of a codec with several rates: a picture of its size, white there, else black; "
        "of a folder a folder of them, a/b.png for a/b.jpg",
    )  # fmt: skip
    parser.add_argument(
        "--roi-offset", type=float, metavar="0..100", help="how much more quality than the rest white has (default: 25)"
    )
    of_masks = "take MAP as one that `codec masks` made, these of whose regions are white"
    parser.add_argument("--roi-regions", type=_regions, metavar="3,5", help=of_masks)


def of_decompress(parser: argparse.ArgumentParser) -> None:
    _files(parser, "a .lic file or a folder of them", "the PNG file or the folder of PNG files to write")
    larger = "of a picture with its padding; larger ones are refused (default: 2^27)"
    parser.add_argument("--max-pixels", type=_number, default=2**27, help=larger)


def of_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", choices=["compressai", "wacnn", "segpic"], help="whose layout the checkpoint has")
    parser.add_argument("checkpoint", type=_path)
    parser.add_argument("--out", type=_path, required=True, help="the bundle to write")
    parser.add_argument("--force", action="store_true", help="overwrite what is there")


def of_fetch(parser: argparse.ArgumentParser) -> None:
    sets = ["kodak", "clic2020-professional", "clic2020-mobile", "clic2020-test", "clic-professional-valid", "div2k-valid"]
    parser.add_argument("name", choices=sets)
    parser.add_argument(
        "--root", type=Path, default=Path(os.environ.get("CODEC_DATA", "datasets")),
        help="the folder of all sets (default: $CODEC_DATA or ./datasets); the set gets a folder of its own there",
    )  # fmt: skip


def of_status(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folders", type=_path, nargs="*", default=[Path(os.environ.get("CODEC_RUNS", "runs"))],
        help="runs, folders of runs, or a sweep's folder (default: $CODEC_RUNS or ./runs)",
    )  # fmt: skip
    parser.add_argument("--watch", action="store_true", help="again every two seconds, until Ctrl-C")


def of_verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", type=_path, help="a JSON that codec train or codec eval wrote, its .lic files beside it")
    parser.add_argument("--codec", type=_path, help="the bundle (default: that of the results' run, or the shipped codec)")
    parser.add_argument("--pictures", type=_path, help="where the set's pictures lie (default: its own place)")


def of_report(parser: argparse.ArgumentParser) -> None:
    named = "a run, a folder of runs, a sweep's, results as JSON, the name of a published curve as WACNN, or `shipped`"
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help=named)
    parser.add_argument("--out", type=_path, required=True, help="the folder to write: index.html, figures and tables")
    parser.add_argument("--pictures", type=_path, help="where the set's pictures lie (default: its own place)")
    its = "a bundle whose results have none beside their run, as those of codec eval; may be given several times"
    parser.add_argument("--codec", type=_path, action="append", default=[], help=its)
