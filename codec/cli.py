"""The command `codec`: what it takes, and which file does it. Nothing heavy is imported before a command runs."""

import argparse
import errno
import importlib
import os
import select
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

REFUSED = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError)
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)  # the last: ulimit -f
NO_NAME = (errno.ENAMETOOLONG, errno.ELOOP)


class Command(NamedTuple):
    """What `codec NAME` does and takes.

    does: the file below codec.commands and its function. help: one line.
    usage: of a command whose words are Hydra overrides of conf/NAME.yaml; its function takes what was asked, as Words.
    arguments: gives any other's to its parser; its function takes them as a Namespace. Both return the exit status.
    """

    does: str
    help: str
    usage: str | None = None
    arguments: Callable[[argparse.ArgumentParser], object] | None = None

    def run(self, asked: Any) -> int:
        """Do it; importing its file is what costs time."""
        file, _, function = self.does.partition(":")
        return getattr(importlib.import_module(f"codec.commands.{file}"), function)(asked)


def _path(text: str) -> Path:
    if not text:  # which Path takes for the current folder
        raise argparse.ArgumentTypeError("an empty path; expected that of a file or a folder")
    return Path(text)


def _number(text: str) -> int:
    if not (text.isdecimal() and 0 < len(text) < 10 and int(text)):
        raise argparse.ArgumentTypeError(f"{text[:20]}; expected a whole number from 1")
    return int(text)


def _bytes(text: str) -> int:
    from codec.types import UserError, read_size

    try:
        return read_size(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


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


def _of_compress(parser: argparse.ArgumentParser) -> None:
    _files(parser, "a picture or a folder of pictures", "the .lic file or the folder of .lic files to write")
    parser.add_argument(
        "--grid", metavar="ROWSxCOLS", help="the regions of a codec that adapts to them (default: its own, such as 4x4)"
    )
    rate = parser.add_mutually_exclusive_group()  # of a codec that has several
    rate.add_argument("--quality", type=float, metavar="0..100", help="the rate, of a codec that has several (default: 50)")
    rate.add_argument("--bpp", type=float, help="the largest files of at most so many bits per pixel of their pictures")
    rate.add_argument(
        "--max-bytes", type=_bytes, metavar="SIZE", help="the largest files of at most so many bytes, such as 20K"
    )
    rate.add_argument("--psnr", type=float, metavar="DB", help="the smallest files whose pictures have at least so many dB")


def _of_decompress(parser: argparse.ArgumentParser) -> None:
    _files(parser, "a .lic file or a folder of them", "the PNG file or the folder of PNG files to write")
    larger = "of a picture with its padding; larger ones are refused (default: 2^27)"
    parser.add_argument("--max-pixels", type=_number, default=2**27, help=larger)


def _of_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", choices=["compressai", "wacnn", "segpic"], help="whose layout the checkpoint has")
    parser.add_argument("checkpoint", type=_path)
    parser.add_argument("--out", type=_path, required=True, help="the bundle to write")
    parser.add_argument("--force", action="store_true", help="overwrite what is there")


def _of_fetch(parser: argparse.ArgumentParser) -> None:
    sets = ["kodak", "clic2020-professional", "clic2020-mobile", "clic2020-test", "clic-professional-valid", "div2k-valid"]
    parser.add_argument("name", choices=sets)
    parser.add_argument(
        "--root", type=Path, default=Path(os.environ.get("CODEC_DATA", "datasets")),
        help="the folder of all sets (default: $CODEC_DATA or ./datasets); the set gets a folder of its own there",
    )  # fmt: skip


def _of_status(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folders", type=_path, nargs="*", default=[Path(os.environ.get("CODEC_RUNS", "runs"))],
        help="runs, folders of runs, or a sweep's folder (default: $CODEC_RUNS or ./runs)",
    )  # fmt: skip
    parser.add_argument("--watch", action="store_true", help="again every two seconds, until Ctrl-C")


def _of_verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", type=_path, help="a JSON that codec train or codec eval wrote, its .lic files beside it")
    parser.add_argument("--codec", type=_path, help="the bundle (default: that of the results' run, or the shipped codec)")
    parser.add_argument("--pictures", type=_path, help="where the set's pictures lie (default: its own place)")


def _of_report(parser: argparse.ArgumentParser) -> None:
    named = "a run, a folder of runs, a sweep's, results as JSON, the name of a published curve as WACNN, or `shipped`"
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help=named)
    parser.add_argument("--out", type=_path, required=True, help="the folder to write: index.html, figures and tables")
    parser.add_argument("--pictures", type=_path, help="where the set's pictures lie (default: its own place)")


COMMANDS = {
    "train": Command(
        "train:run",
        "train a codec, export it, code photographs for real, write a report; -m sweeps",
        "codec train [-m] [--dry-run] [key=value ...]\n\n"
        "examples:\n"
        "  codec train                                 about two minutes on a laptop, from nothing to a report\n"
        "  codec train model.lmbda=0.013 steps=5000    another rate, a longer run\n"
        "  codec train -m model.lmbda=0.0018,0.0035,0.0067\n"
        "                                              a sweep, ended by one rate-distortion plot\n"
        "  codec train -m model.lmbda=0.0018,0.0035 --dry-run\n"
        "                                              its runs and the disk that they will take\n"
        "  codec train experiment=bmshj2018_hyperprior data.root=PATH model.lmbda=0.013\n"
        "                                              the paper's run on your photographs\n"
        "  codec train --cfg job                       the configuration, without a run",
    ),
    "eval": Command(
        "evaluate:run",
        "code and measure a set of pictures with a trained codec",
        "codec eval run=DIR|codec=BUNDLE [test=NAME] [test.root=PATH] [out=DIR]",
    ),
    "masks": Command(
        "masks:run",
        "region maps of a set from annotations or SAM, made once; goes on where it was stopped",
        "codec masks data=NAME [data/regions=NAME] [data.root=PATH] [shard=INDEX/COUNT] [processes=N] [key=value ...]\n\n"
        "examples:\n"
        "  codec masks data=coco_panoptic data.root=PATH\n"
        "  codec masks data=folder data/regions=sam data.root=PATH data.regions.model=facebook/sam-vit-base\n"
        "  codec masks data=folder data/regions=sam data.root=PATH shard=3/16\n"
        "                                              one of 16 parts, counted from 0, as in a SLURM array",
    ),
    "bench": Command(
        "bench:run",
        "training step and coding against CompressAI's own model, in one run",
        "codec bench [experiment=NAME] [key=value ...]",
    ),
    "compress": Command("compress:compress", "compress one file or a folder", arguments=_of_compress),
    "decompress": Command("compress:decompress", "decompress one file or a folder", arguments=_of_decompress),
    "status": Command("status:run", "what runs do: step, time left, figures, why one failed", arguments=_of_status),
    "report": Command("report:run", "a page, figures and tables of runs, results and published curves", arguments=_of_report),
    "verify": Command("verify:run", "decode and measure again what results say", arguments=_of_verify),
    "import": Command("import_checkpoint:run", "turn a published checkpoint into a bundle", arguments=_of_import),
    "fetch": Command("fetch:run", "download a public test set and check it", arguments=_of_fetch),
}
SWEEP = Command("sweep:run", "codec train with -m or --dry-run, which trains nothing itself")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="codec", description="Train, measure and run learned image codecs.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        its = commands.add_parser(
            name, help=command.help, usage=command.usage, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if command.arguments is None:
            its.add_argument("overrides", nargs=argparse.REMAINDER, help="Hydra overrides: key=value")
        else:
            command.arguments(its)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status; a user's mistake is one line on standard error."""
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of odd metadata and sizes, about which data/images.py decides
    warnings.filterwarnings("ignore", message="Initializing zero-element tensors")  # build_model refuses such a network
    for library in ("torch.jit", "lightning.pytorch.utilities._pytree"):  # deprecations between libraries, none of ours
        warnings.filterwarnings("ignore", category=FutureWarning, module=library)
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    sys.warnoptions.append("ignore::FutureWarning:torch.jit._script")  # the same for the processes that bench starts
    warnings.filterwarnings("ignore", category=UserWarning, module="torchvision.models._utils")  # lpips asks it the old way
    for hint in ("The `srun` command is available", "`broadcast_buffers` is deprecated", "It is recommended to use `self.log"):
        warnings.filterwarnings("ignore", message=hint)  # Lightning's, for its programmers
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if words[:1] == ["train"]:
        from codec.runs.point import be_point
        from codec.runs.slurm import requeue_on_warning

        be_point()
        requeue_on_warning()  # before imports that take seconds
    try:
        command = COMMANDS.get(words[0]) if words else None
        if command is not None and command.arguments is None and not {"-h", "--help"} & set(words):
            return _run_composed(words[0], words[1:])
        arguments = _parser().parse_args(words)
        _check_source(arguments)
        status = COMMANDS[arguments.command].run(arguments)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        if not _nobody_reads():
            raise
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        print("codec: stopped", file=sys.stderr)
        return 130
    except Exception as error:
        message = _mistake(error, words[0])
        if debug or message is None:
            raise
        from codec.types import printable

        print(printable(f"codec: {message}"), file=sys.stderr)
        return 2


def program(argv: Sequence[str] | None = None) -> NoReturn:
    """`main`, and the end of its process."""
    try:
        status = main(None if argv is None else list(argv))
    except SystemExit as stop:  # argparse's, or a warning's of SLURM
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    if "codec.runs.ranks" in sys.modules:
        sys.modules["codec.runs.ranks"].end_with(status)
    sys.exit(status)


def _nobody_reads() -> bool:
    """Whether who read the output has enough, as `head` has; what is left to say then goes nowhere."""
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)
    gone = any(state & (select.POLLERR | select.POLLHUP) for _, state in output.poll(0))
    if gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return gone


def _check_source(arguments: argparse.Namespace) -> None:
    """Raise UserError for nothing to read: a slip of the path is answered before anything heavy is imported."""
    from codec.types import UserError

    source = getattr(arguments, "input", None)
    if source is not None and not source.exists():
        raise UserError(f"no file or folder at {source}; check the path")


def _run_composed(name: str, words: list[str]) -> int:
    """Run a command whose words Hydra composes, once they compose: a typo is answered before anything heavy is imported."""
    from codec.config.compose import prepared
    from codec.training.settings import check_settings

    asked = prepared(name, words, check_settings if name == "train" else None)
    if asked.shows:
        return 0
    several = name == "train" and (asked.sweeps or asked.lists)
    return (SWEEP if several else COMMANDS[name]).run(asked)


def _mistake(error: BaseException, command: str) -> str | None:
    """One line about a mistake of the user's, or about what a disk refuses; None for an error of ours."""
    from codec.types import UserError

    mistake = UserError.behind(error)
    if mistake is not None or isinstance(error, REFUSED) or (isinstance(error, OSError) and error.errno in NO_NAME):
        return " ".join(str(mistake or error).split())
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        return " ".join(f"{error}; expected room to write; free some and give the same command again".split())
    if type(error).__module__.split(".")[0] in ("hydra", "omegaconf", "antlr4"):
        reason = " ".join(str(error).split()).partition(" Config search path:")[0]
        return f"{reason}; see the keys with: codec {command} {'--cfg job' if command == 'train' else '--help'}"
    return None
