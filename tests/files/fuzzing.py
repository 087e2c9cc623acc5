"""Hostile files by the thousand: each is the right picture or one line, in bounded time and memory.

    python tests/files/fuzzing.py --count 50000 --seed 1

feeds `.lic` files, bundles and checkpoints of tiny codecs of every kind, and prints what came of them. Input n of a seed is
always the same: `--only n` looks at it alone. Exit status 1 where anything came of one but a picture or a UserError.
"""

import argparse
import math
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from unittest.mock import patch

import torch
from torch import Tensor

sys.path[:0] = [str(Path(__file__).parents[up]) for up in (2, 1, 0)]  # as pytest has them

import mutations  # noqa: E402
from conftest import live_codec, live_model, picture  # noqa: E402

from codec.entropy.payload import StreamWriter  # noqa: E402
from codec.files import bundle as bundles  # noqa: E402
from codec.files.bundle import bundle_facts, load_bundle, save_bundle  # noqa: E402
from codec.files.coding import decode, decode_latents, encode, reconstruct  # noqa: E402
from codec.files.container import read_container, write_container  # noqa: E402
from codec.files.level_map import packed  # noqa: E402
from codec.files.loaded import Bundle  # noqa: E402
from codec.files.published import load_published  # noqa: E402
from codec.files.sealed import Sealed, unseal  # noqa: E402
from codec.interface import PictureCodec  # noqa: E402
from codec.layers.regions import Grid  # noqa: E402
from codec.models.base import Latents  # noqa: E402
from codec.types import UserError, printable  # noqa: E402

MOST_SECONDS = 1.0  # of processor time, for one input; for a bundle twice what a sound one takes, where that is longer
MOST_STEP = 2**25  # bytes of memory that one input may add
MOST_PIXELS = 2**16  # of a .lic file up to which these hold; one that claims more may take more
MOST_GROWTH = 2**28  # bytes of memory over what sound files take
LONGEST_LINE = 700  # characters of a message
# Slow ones less. `NAME levels` has several rates.
OFTEN = {"factorized": 30, "hyperprior": 20, "mean_scale": 15, "hific": 9, "wacnn": 0.25, "segpic": 0.25}
OFTEN |= {"factorized levels": 15, "mean_scale levels": 10}


@dataclass
class Subject:
    """A codec, and sound files of it with the latents that they hold."""

    name: str
    content: bytes
    sealed: Sealed
    bundle: Bundle
    files: list[bytes]
    latents: list[Latents]
    state: dict[str, Tensor]  # of its checkpoint


def make_subjects(folder: Path, names: Sequence[str]) -> dict[str, Subject]:
    """Tiny codecs by name."""
    subjects = {}
    for name in names:
        kind, _, levels = name.partition(" ")
        model = live_codec(kind, N=4, M=6) if kind in ("factorized", "hyperprior", "mean_scale") else live_model(kind)
        if levels:
            model.add_levels(3)
            model.levels.start([0.2, 4.0], 1.0)
        facts = {"config": {"experiment_name": "a", "model": {"lmbda": 0.1, "N": 8}, "target_bpp": None, "seed": 1}}
        path = folder / f"{name}.safetensors"
        save_bundle(path, model, facts, half=True)
        bundle = load_bundle(path)
        encoded = [encode(bundle, picture(*size, seed=seed)) for seed, size in enumerate([(8, 9), (40, 70), (1, 1)])]
        if levels:
            offsets = torch.arange(math.prod(bundle.model.latent_size(40, 70))) % 2
            offsets = offsets.view(bundle.model.latent_size(40, 70))
            encoded.append(encode(bundle, picture(40, 70, seed=3), level=1, offsets=offsets))
        state = {key: parameter.detach() for key, parameter in model.named_parameters()}
        files, latents = [e.file for e in encoded], [e.latents for e in encoded]
        subjects[name] = Subject(name, path.read_bytes(), unseal(path), bundle, files, latents, state)
    return subjects


class NotRightError(Exception):
    """A picture, but not the right one."""


def _check_picture(subject: Subject, data: bytes) -> None:
    """Decode a file of the subject's: what comes must be a picture of one of its own files, cut as the file says."""
    image, file = decode(subject.bundle, data), read_container(data)
    if image.shape != (3, file.height, file.width) or image.dtype != torch.uint8:
        raise NotRightError(f"{image.dtype} {tuple(image.shape)}")
    latents = decode_latents(subject.bundle, data)[0]
    if not any(latents.equal(own) for own in subject.latents):
        raise NotRightError("its latents are those of no picture")
    if not image.equal(reconstruct(subject.bundle, latents, file.height, file.width)):
        raise NotRightError("another picture the second time")


def _check_in_python(subject: Subject, data: bytes) -> None:
    """The same by what `import codec` gives."""
    image, file = PictureCodec(subject.bundle).decompress(data), read_container(data)
    if image.size != (file.width, file.height):
        raise NotRightError("another size")


@torch.inference_mode()
def _check_some_picture(bundle: Bundle, data: bytes, size: tuple[int, int]) -> None:
    """Decode a file: some picture of that size must come of it, made of numbers."""
    if decode(bundle, data).shape != (3, *size):
        raise NotRightError("another size")
    if not bundle.model.synthesis(decode_latents(bundle, data)[0]).isfinite().all():
        raise NotRightError("no picture: its values are not finite")


class _MadeUp(StreamWriter):
    """Codes latents that no picture has, up to the largest that a file holds."""

    def __init__(self, bundle: Bundle, rng: Random):
        super().__init__(bundle.tables, bundle.scale_bounds)
        self._generator = torch.Generator().manual_seed(rng.getrandbits(32))
        self._size = rng.choice([0.3, 3.0, 1e3, 1e6, 4e8])

    def _noise(self, shape: Sequence[int]) -> Tensor:
        return self._size * torch.randn(tuple(shape), generator=self._generator)

    def factorized(self, name, z, shape, density, present=None):  # type: ignore[no-untyped-def]
        return super().factorized(name, self._noise((1, *shape)), shape, density)

    def gaussian(self, name, y, scales, means, prior, first_channel=0):  # type: ignore[no-untyped-def]
        return super().gaussian(name, self._noise(scales.shape), scales, means, prior)


@torch.inference_mode()
def _check_made_up(subject: Subject, data: bytes, rng: Random) -> None:
    """Decode latents that are made up, behind checksums that all fit: they must come back, and some picture."""
    file, (height, width) = read_container(data), (rng.choice(mutations.SIZES), rng.choice(mutations.SIZES))
    grid = None if file.grid is None else Grid(rng.choice([1, 2, 5, 40]), rng.choice([1, 3]))
    coder = _MadeUp(subject.bundle, rng)
    model = subject.bundle.model
    levels = level = None if model.levels is None else rng.randrange(model.levels.count)
    level_map = None
    if level is not None and rng.random() < 0.5:
        generator = torch.Generator().manual_seed(rng.getrandbits(32))
        offsets = torch.randint(model.levels.count - level, model.latent_size(height, width), generator=generator)
        levels, level_map = level + offsets, packed(offsets)
    latents = model.read(coder, height, width, grid, levels)
    payload, crc, _ = coder.finish()[0]
    made = write_container(subject.bundle.fingerprint, height, width, payload, crc, grid, level or 0, level_map)
    if not decode_latents(subject.bundle, made)[0].equal(latents):
        raise NotRightError("other latents")
    _check_some_picture(subject.bundle, made, (height, width))


def _check_bundle(path: Path, subject: Subject, forged_check: bool) -> None:
    """Load a bundle, and code with it: its own file of a small picture must hold the latents that were coded.

    forged_check: take its check value for right, as one who means harm writes it.
    """
    bundle_facts(path)
    with patch.object(bundles, "check_exactness", (lambda *_: None) if forged_check else bundles.check_exactness):
        bundle = load_bundle(path)
    encoded = encode(bundle, picture(8, 9))
    if not decode_latents(bundle, encoded.file)[0].equal(encoded.latents):
        raise NotRightError("its own file holds other latents")
    made = mutations.assembled(read_container(subject.files[0]), Random(0), fingerprint=bundle.fingerprint)
    _check_some_picture(bundle, made, (8, 9))


def _check_checkpoint(path: Path) -> None:
    """Import a checkpoint as each kind, and write its bundle where it is one."""
    errors = []
    for kind in ("compressai", "wacnn", "segpic"):
        try:
            save_bundle(path.with_suffix(".imported"), load_published(kind, path), {}, half=False, solve=False)
        except UserError as error:
            errors.append(error)
    if len(errors) == 3:
        raise errors[0]


MAKERS = {"random": mutations.random_bytes, "cut": mutations.cut, "flipped": mutations.flipped, "forged": mutations.forged}


@dataclass
class Fuzzer:
    """Makes inputs and counts what comes of them."""

    folder: Path
    subjects: dict[str, Subject]
    seed: int
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    seconds: Counter[str] = field(default_factory=Counter)  # type: ignore[type-arg]
    limits: dict[str, float] = field(default_factory=dict)  # seconds for a bundle of each subject
    claims: int = 0  # pixels, the input of now
    slowest: dict[str, float] = field(default_factory=dict)
    growth: int = 0

    def __post_init__(self) -> None:
        for subject in self.subjects.values():
            begun = time.process_time()
            with suppress(UserError):  # HiFiC's, which nobody publishes
                _check_checkpoint(self.written(mutations.checkpoint(subject.state)))
            _check_bundle(self.written(subject.content), subject, forged_check=False)
            self.limits[subject.name] = max(MOST_SECONDS, 2 * (time.process_time() - begun))

    def subject(self, rng: Random) -> Subject:
        return self.subjects[rng.choices(list(self.subjects), [OFTEN[name] for name in self.subjects])[0]]

    def written(self, content: bytes) -> Path:
        path = self.folder / "input"
        path.write_bytes(content)
        return path

    def attempt(self, kind: str, subject: Subject, rng: Random) -> Callable[[], None]:
        """What is to be done with the next input of a kind."""
        data, other = rng.choice(subject.files), rng.choice(self.subject(rng).files)
        if kind.startswith("lic"):
            if kind == "lic made up":
                return lambda: _check_made_up(subject, data, rng)
            way = kind.removeprefix("lic ")
            made = mutations.spliced(data, other, rng) if way == "spliced" else MAKERS[way](data, rng)
            with suppress(UserError):
                self.claims = read_container(made).height * read_container(made).width
            check = _check_in_python if rng.random() < 0.05 else _check_picture
            return lambda: check(subject, made)
        if kind == "checkpoint":
            content = mutations.changed_checkpoint(subject.state, rng)
            return lambda: _check_checkpoint(self.written(content))
        way, content = kind.removeprefix("bundle "), subject.content
        if way == "damaged":
            content = rng.choice([mutations.flipped, mutations.cut, mutations.random_bytes])(content, rng)
        elif way == "header":
            content = mutations.changed_header(content, rng)
        else:
            content = mutations.resealed(subject.sealed, rng, way)
        forged_check = rng.random() < 0.8
        return lambda: _check_bundle(self.written(content), subject, forged_check)

    def run(self, number: int) -> None:
        """Feed input `number`, of a kind that the number chooses."""
        rng = Random(f"{self.seed}/{number}")
        self.claims = 0
        kind, subject = rng.choices(list(KINDS), list(KINDS.values()))[0], self.subject(rng)
        begun, peak = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            attempt = self.attempt(kind, subject, rng)
            begun = time.process_time()
            attempt()
            outcome = "picture"
        except UserError as error:
            line = str(error)
            outcome = "refused" if line == printable(line) and len(line) <= LONGEST_LINE else "a message of several lines"
        except Exception:
            outcome = "crash"
            self.failures.append(f"{number} {kind}: {traceback.format_exc(limit=-3)}")
        seconds = time.process_time() - begun
        self.growth += (grown := 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak))
        self.outcomes[kind, outcome] += 1
        self.seconds[kind] += seconds
        self.slowest[kind] = max(seconds, self.slowest.get(kind, 0.0))
        limit = MOST_SECONDS if kind.startswith("lic") else self.limits[subject.name]
        too_much = self.claims <= MOST_PIXELS and (seconds > limit or grown > MOST_STEP)
        if "lines" in outcome or too_much:
            self.failures.append(f"{number} {kind} {subject.name}: {outcome}, {seconds:.2f} s, {grown / 2**20:.0f} MiB more")


# Inputs of each kind in a thousand: those that fail at a checksum cost microseconds, a bundle whose hashes fit 50 milliseconds.
KINDS = {
    "lic random": 150, "lic cut": 200, "lic spliced": 150, "lic flipped": 270, "lic forged": 120, "lic made up": 8,
    "bundle damaged": 70, "bundle header": 12, "bundle core": 6, "bundle facts": 2, "bundle tensors": 8, "checkpoint": 4,
}  # fmt: skip


def table(fuzzer: Fuzzer) -> Iterator[str]:
    """Lines of what came of each kind, and the milliseconds that one took, and the slowest of them."""
    seen = sorted({outcome for _, outcome in fuzzer.outcomes})
    yield f"{'':20}" + "".join(f"{outcome:>12}" for outcome in [*seen, "ms each", "slowest"])
    for kind in KINDS:
        counts = [fuzzer.outcomes[kind, outcome] for outcome in seen]
        times = 1e3 * fuzzer.seconds[kind] / max(1, sum(counts)), 1e3 * fuzzer.slowest.get(kind, 0.0)
        yield f"{kind:20}" + "".join(f"{n:12,}" for n in counts) + "".join(f"{ms:12.2f}" for ms in times)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="feed this input alone, and show what comes of it")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    warnings.simplefilter("error", RuntimeWarning)  # numbers that overflow without a word
    with tempfile.TemporaryDirectory() as folder:
        fuzzer = Fuzzer(Path(folder), make_subjects(Path(folder), list(OFTEN)), asked.seed)
        begun = time.perf_counter()
        for number in range(asked.count) if asked.only is None else [asked.only]:
            fuzzer.run(number)
            if number % 10_000 == 9_999:
                rate = (number + 1) / (time.perf_counter() - begun)
                print(f"{number + 1:,} inputs, {rate:.0f} a second, {len(fuzzer.failures)} failures", flush=True)
    print(*table(fuzzer), sep="\n")
    print(f"memory {fuzzer.growth / 2**20:.0f} MiB more, {len(fuzzer.failures)} failures")
    print(*fuzzer.failures[:100], sep="\n")
    return 1 if fuzzer.failures or fuzzer.growth > MOST_GROWTH else 0


if __name__ == "__main__":
    sys.exit(main())
