"""The command `codec`: its commands, and which file does each. Nothing heavy is imported before a command runs."""

import argparse
import errno
import importlib
import io
import os
import select
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

from codec.arguments import of_compress, of_decompress, of_fetch, of_import, of_report, of_status, of_verify
from codec.atomic import NO_SPACE

REFUSED = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError)
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
    "compress": Command("compress:compress", "compress one file or a folder", arguments=of_compress),
    "decompress": Command("compress:decompress", "decompress one file or a folder", arguments=of_decompress),
    "status": Command("status:run", "what runs do: step, time left, figures, why one failed", arguments=of_status),
    "report": Command("report:run", "a page, figures and tables of runs, results and published curves", arguments=of_report),
    "verify": Command("verify:run", "decode and measure again what results say", arguments=of_verify),
    "import": Command("import_checkpoint:run", "turn a published checkpoint into a bundle", arguments=of_import),
    "fetch": Command("fetch:run", "download a public test set and check it", arguments=of_fetch),
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
    _open_streams()
    try:
        status = main(None if argv is None else list(argv))
    except SystemExit as stop:  # argparse's, or a warning's of SLURM
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    if "codec.runs.ranks" in sys.modules:
        sys.modules["codec.runs.ranks"].end_with(status)
    sys.exit(status)


def _open_streams() -> None:
    """Make standard output and error take all that is said: closed ones, as cron may have, and those of few letters."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  # as long as the process
        elif isinstance(stream, io.TextIOWrapper) and stream.encoding.lower().replace("-", "") != "utf8":
            stream.reconfigure(errors="replace")


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
    if type(error).__module__.split(".")[0] == "yaml":
        return f"{' '.join(str(error).split())}; expected YAML; mend that file"
    if type(error).__module__.split(".")[0] in ("hydra", "omegaconf", "antlr4"):
        reason = " ".join(str(error).split()).partition(" Config search path:")[0]
        return f"{reason}; see the keys with: codec {command} {'--cfg job' if command == 'train' else '--help'}"
    return None
