"""The kinds of classical codecs: a format of Pillow's, and programs of others."""

import hashlib
import io
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import PIL
from PIL import Image, features

from codec.evaluation.y4m import as_y4m, from_y4m
from codec.types import UnavailableError, UserError
from data.formats import PLUGINS, formats


@dataclass(frozen=True)
class ClassicalCodec:
    """A codec that is not learned: a picture to the bytes of a file and back, at any setting of a ladder.

    label: its name in tables and plots. parameter: what its settings are called. ladder: the settings, from low to high rate.
    colour: what it codes of an RGB picture: colour space and subsampling.
    """

    label: str
    parameter: str
    ladder: tuple[Any, ...]
    colour: str

    def check(self) -> None:
        """Raise UnavailableError where this machine lacks what does the work."""
        raise NotImplementedError

    def versions(self) -> dict[str, str | None]:
        """Of all that the bytes of a file depend on, beside the fields."""
        raise NotImplementedError

    def describe(self) -> str:
        """How the files were made, for results: what does the work, and what is fixed of its settings."""
        raise NotImplementedError

    def made_by(self) -> dict[str, str]:
        """The same for programs: settings, colour path, versions."""
        return {"settings": self.describe(), "colour": self.colour} | {
            k: v for k, v in self.versions().items() if v is not None
        }

    def encode(self, image: Image.Image, setting: Any) -> bytes:
        """The file of an RGB picture at one setting of the ladder."""
        raise NotImplementedError

    def decode(self, data: bytes) -> Image.Image:
        """The RGB picture in a file."""
        raise NotImplementedError


@dataclass(frozen=True)
class PillowCodec(ClassicalCodec):
    """A format of Pillow's.

    format: its name there. libraries: what does the work, by the names of PIL.features, of which the first must be there; none
    where a plugin brings the format (data/formats.py). options: what is fixed beside the parameter.
    """

    format: str
    libraries: tuple[str, ...]
    options: dict[str, Any]

    def check(self) -> None:
        plugin = PLUGINS.get(self.format)
        if plugin is not None and self.format not in formats():
            reason = f"no {plugin.package}; expected it beside Pillow; pip install -e '.[encoders]', or set test.baselines"
            raise UnavailableError(f"{self.label}: {reason}")
        if plugin is None and not features.check(self.libraries[0]):
            raise UnavailableError(
                f"this Pillow has no {self.label}; expected Pillow 11.3 or newer; install it, or set test.baselines"
            )

    def versions(self) -> dict[str, str | None]:
        told = {"pillow": PIL.__version__} | {name: features.version(name) for name in self.libraries}
        if (plugin := PLUGINS.get(self.format)) is not None:
            told[plugin.package] = version(plugin.package)
        if self.format == "HEIF":
            told["encoder"] = import_module(PLUGINS["HEIF"].module).libheif_info()["HEIF"]
        return told

    def describe(self) -> str:
        made = ", ".join(f"{name} {told}" for name, told in self.versions().items() if told)
        fixed = ", ".join(f"{key}={value}" for key, value in self.options.items()) or "all else as the library has it"
        return f"{made}; {fixed}; {self.colour}"

    def encode(self, image: Image.Image, setting: Any) -> bytes:
        value = [setting] if self.parameter == "quality_layers" else setting
        buffer = io.BytesIO()
        image.save(buffer, self.format, **{self.parameter: value}, **self.options)
        return buffer.getvalue()

    def decode(self, data: bytes) -> Image.Image:
        return Image.open(io.BytesIO(data), formats=[self.format]).convert("RGB")


@dataclass(frozen=True)
class ExternalCodec(ClassicalCodec):
    """Programs of others: one that writes the file of a picture, one that writes the picture of a file.

    encoder, decoder: their commands, in which {input} and {output} stand for files and, in the first, {quality} for the
    setting; no shell reads them. version: the command whose first line of output says which version it is.
    suffix: of the files. picture: of the pictures that the programs read and write: .png or .ppm, in RGB, or .y4m, in YCbCr
    4:4:4 by BT.709 and full range, as CompressAI gives them to VTM (codec/evaluation/y4m.py).
    Its times have the start of the programs in them.
    """

    encoder: str
    decoder: str
    version: str
    suffix: str
    picture: str = ".png"

    def check(self) -> None:
        for command in (self.encoder, self.decoder, self.version):
            program = shlex.split(command)[0]
            if shutil.which(program) is None:
                reason = f"no program {program}; expected it in $PATH; install it, set test.programs, or test.baselines"
                raise UnavailableError(f"{self.label}: {reason}")

    def versions(self) -> dict[str, str | None]:
        """What the programs say of themselves, and a hash of each file that the commands name: scripts have no versions."""
        told: dict[str, str | None] = {"version": self._version()}
        for word in shlex.split(f"{self.encoder} {self.decoder}"):
            file = Path(shutil.which(word) or word)
            if file.is_file():
                told[word] = hashlib.sha256(file.read_bytes()).hexdigest()
        return told

    def describe(self) -> str:
        return f"{self._version()}, `{self.encoder}` and `{self.decoder}`; {self.colour}, from {self.picture}"

    def encode(self, image: Image.Image, setting: Any) -> bytes:
        with TemporaryDirectory(prefix="codec-") as folder:
            source, coded = Path(folder, f"picture{self.picture}"), Path(folder, f"coded{self.suffix}")
            source.write_bytes(as_y4m(image)) if self.picture == ".y4m" else image.save(source)
            self._run(self.encoder, input=source, output=coded, quality=setting)
            return coded.read_bytes()

    def decode(self, data: bytes) -> Image.Image:
        with TemporaryDirectory(prefix="codec-") as folder:
            coded, decoded = Path(folder, f"coded{self.suffix}"), Path(folder, f"picture{self.picture}")
            coded.write_bytes(data)
            self._run(self.decoder, input=coded, output=decoded)
            try:
                if self.picture == ".y4m":
                    return from_y4m(decoded.read_bytes())
                return Image.open(decoded, formats=["PNG", "PPM"]).convert("RGB")
            except (OSError, ValueError) as error:
                reason = f"wrote what is no picture ({error}); expected {self.picture}; try it by hand"
                raise UserError(f"{self.label}: `{self.decoder}` {reason}") from None

    def _version(self) -> str:
        done = _completed(shlex.split(self.version))
        return next((line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()), "no version told")

    def _run(self, command: str, **values: Any) -> None:
        """Run a command with the values in their places. Raises UserError where it fails, or leaves no file."""
        words = shlex.split(command)
        for name, value in values.items():
            words = [word.replace(f"{{{name}}}", str(value)) for word in words]
        done = _completed(words)
        if done.returncode or not values["output"].is_file():
            at = f" at {self.parameter} {values['quality']}" if "quality" in values else ""
            said = ([line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()] or ["nothing"])[-1]
            raise UserError(
                f"{self.label}: `{command}`{at} ended with exit status {done.returncode} and said: {said}; expected 0 and a "
                "file; try it by hand, or set test.baselines"
            )


def _completed(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
