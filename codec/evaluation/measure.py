"""Measuring a codec: every picture to a file, the file back to a picture in a codec built anew."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields as dataclass_fields
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.markup import escape

from codec.evaluation.classical import classical_codec
from codec.evaluation.classical_codecs import ExternalCodec
from codec.evaluation.costs import TransformClock, costs_of, peak_memory
from codec.evaluation.measures import Measures
from codec.evaluation.progress import told
from codec.evaluation.results import ImageRow, Point, Results, StreamTotal, equal_pictures, hash_of_picture
from codec.files.bundle import in_floats, load_bundle
from codec.files.coding import Encoded, decode_latents, encode, estimated_bits, reconstruct
from codec.files.devices import chosen_device, device_name, on_device
from codec.files.loaded import CPU, Bundle
from codec.files.memory import allowed_memory, holding
from codec.machine import give_back_freed_memory
from codec.metrics.distribution import PatchFeatures
from codec.metrics.quality import finite, ms_ssim_db, psnr
from codec.types import UnavailableError, UserError, read_size
from data.testsets import TestImage, TestSet

MAX_OVERHEAD, MAX_OVERHEAD_BYTES = 0.005, 8  # of the payload over its ideal size at the same tables
NUM_LEVELS = 8  # that are measured, of a codec that has several rates, spread over all

PRECISION = "float32; between symbols and tables integers in float64"

console = Console()


class Measurement(NamedTuple):
    """What a codec is measured on and by, loaded.

    baselines: names of the classical codecs beside it. measures: what is measured beside rates, PSNR and MS-SSIM.
    programs: those of the baselines that configured commands are.
    device: where the codec's networks compute. max_memory: bytes that the process may take for coding, if not what is free.
    levels: how many of a codec's, of one that has several rates.
    """

    test_set: TestSet
    baselines: Sequence[str]
    measures: Measures
    device: torch.device = CPU
    max_memory: int | None = None
    programs: Mapping[str, ExternalCodec] = {}
    levels: int = NUM_LEVELS


def load_measurement(
    test_set: TestSet, baselines: Sequence[str], measures: Sequence[str], perceptual: Mapping[str, Any], device: str,
    max_memory: str | int | None, programs: Mapping[str, Mapping[str, Any]], levels: int = NUM_LEVELS,
) -> Measurement:  # fmt: skip
    """The measurement of test_set beside baselines and by measures; those whose networks cannot be had are named.

    perceptual: conf's, the arguments of Measures. device: the name of one for the codec's networks; see chosen_device.
    max_memory: such as 3G; see codec.types.read_size. programs: conf's, the arguments of an ExternalCodec by its name. levels:
    see Measurement.
    Raises UserError for what cannot be measured on the set.
    """
    if type(levels) is not int or levels < 2:
        raise UserError(f"test.levels={levels}; expected a whole number from 2, how many levels to measure; set test.levels")
    where = chosen_device(device)
    by_commands = {name: _program(name, fields) for name, fields in programs.items()}
    for name in baselines:
        codec = classical_codec(name, by_commands)  # a wrong name shows now, not after all the coding
        try:
            codec.check()
        except UnavailableError as error:
            console.print(f"[yellow]{name} will be missing: {escape(str(error))}", soft_wrap=True)
    loaded = Measures(measures, **perceptual)
    loaded.check_size(test_set.pictures, test_set.name)
    for name, reason in loaded.not_computed.items():
        console.print(f"[yellow]{name} will be missing: {reason}", soft_wrap=True)
    memory = None if max_memory is None else read_size(max_memory)
    return Measurement(test_set, list(baselines), loaded, where, memory, by_commands, levels)


def _program(name: str, fields: Mapping[str, Any]) -> ExternalCodec:
    try:
        return ExternalCodec(**{**fields, "ladder": tuple(fields["ladder"])})
    except (TypeError, KeyError) as error:
        known = ", ".join(field.name for field in dataclass_fields(ExternalCodec))
        raise UserError(f"test.programs.{name} is no encoder ({error}); expected {known}; see conf/programs") from None


def evaluate(
    bundle: Path, test_set: TestSet, files: Path, measures: Measures | None = None, device: torch.device = CPU,
    max_memory: int | None = None, levels: int = NUM_LEVELS,
) -> Results:  # fmt: skip
    """Measure the codec of a bundle on test_set; the .lic files of its pictures go below the folder `files`.

    measures: what is measured beside rates, PSNR and MS-SSIM. device, max_memory, levels: see Measurement. The estimated rate
    is that of the networks in floats, as in training: what separates the files from it is rounding, tables and their bytes.
    Raises UserError where a decoded latent is not the encoded one, or a payload is larger than its tables allow.
    """
    encoder, decoder = (on_device(load_bundle(bundle), device) for _ in range(2))
    if max_memory is not None:
        give_back_freed_memory()
        memory = allowed_memory(max_memory, device)
        encoder, decoder = replace(encoder, memory=memory), replace(decoder, memory=memory)
    codecs = _Codecs(encoder, decoder, in_floats(encoder), TransformClock(encoder), TransformClock(decoder))
    measures = measures or Measures()
    costs = costs_of(codecs.floats)
    with peak_memory(device) as peak:
        points = [
            _measure_at(codecs, test_set, files, measures, setting_of(encoder, level), level)
            for level in ([None] if encoder.model.levels is None else encoder.model.levels.spread(levels))
        ]
    missing = equal_pictures(points)
    for point in points:
        missing |= measures.missing(point.images, point.of_set)
    name, description = name_of(encoder), description_of(encoder, device_name(device))
    made_by = {"bundle": encoder.fingerprint.hex(), "device": device_name(device)}
    made_by |= {"threads": str(torch.get_num_threads()), "precision": PRECISION}
    made_by |= {package: version(package) for package in ("codec", "torch")}
    return Results(name, description, test_set.name, points, missing, measures.measured_with, made_by, costs | peak)


class _Codecs(NamedTuple):
    """A codec to encode with, the same built anew to decode with, and once more with its networks in floats; what they take."""

    encoder: Bundle
    decoder: Bundle
    floats: Bundle
    encoder_clock: TransformClock
    decoder_clock: TransformClock


Cost = tuple[float, int, int]
"""Bits, symbols and escapes of a stream of one picture."""


def _totals(measured: Sequence[Mapping[str, Cost]]) -> dict[str, StreamTotal]:
    """What each stream took of all pictures."""
    names = dict.fromkeys(name for streams in measured for name in streams)
    costs = {name: [streams[name] for streams in measured if name in streams] for name in names}
    return {name: StreamTotal(*map(sum, zip(*rows, strict=True))) for name, rows in costs.items()}


def name_of(codec: Bundle) -> str:
    """What results call the codec of a bundle: its experiment and its model, one word where they agree."""
    names = codec.header["facts"].get("config", {}).get("experiment_name"), codec.header["model"]
    return " ".join(dict.fromkeys(filter(None, names)))


def description_of(codec: Bundle, device: str) -> str:
    """What results say of the codec of a bundle that was measured on a device of that name."""
    header = codec.header
    told = f"{header['model']} {header['arguments']}, bundle {codec.fingerprint.hex()}, coded on {device}"
    return f"{told}, trained with {header['facts']['trained_with']}" if "trained_with" in header["facts"] else told


def setting_of(codec: Bundle, level: int | None) -> dict[str, Any]:
    """What a point was trained for: its lambda, its rate target and its level, where the bundle says them.

    A level has a lambda of its own, or with a rate target that target: lambda, which weighs the distortion, stays the codec's.
    """
    facts = codec.header["facts"]
    config = facts.get("config", {})
    found = {"lmbda": config.get("model", {}).get("lmbda"), "target_bpp": config.get("target_bpp"), "level": level}
    if level is not None and found["target_bpp"] is not None:
        targets = facts.get("target_bpp_by_level", [])
        found["target_bpp"] = targets[level] if level < len(targets) else None  # the codec's own is that of one level alone
    elif level is not None:
        lmbdas = facts.get("lmbda_by_level", [])
        found["lmbda"] = lmbdas[level] if level < len(lmbdas) else found["lmbda"]
    return {name: value for name, value in found.items() if value is not None}


def _measure_at(
    codecs: _Codecs, test_set: TestSet, files: Path, measures: Measures, setting: dict[str, Any], level: int | None
) -> Point:
    """All pictures at one level, or at the one rate that there is; files: the folder of the codec's."""
    there, patches = Point(setting, []).files(files), measures.patch_features()
    pictures = told(test_set.pictures, f"coding {test_set.name}" + ("" if level is None else f" at level {level}"))
    measured = [_measure(codecs, picture, there, measures, patches, level) for picture in pictures]
    streams = _totals([streams for _, streams in measured])
    return Point(setting, [row for row, _ in measured], measures.of_set(patches), streams)


def _measure(
    codecs: _Codecs, picture: TestImage, files: Path, measures: Measures, patches: PatchFeatures | None, level: int | None
) -> tuple[ImageRow, Mapping[str, Cost]]:
    """The row of a picture, and what its streams took."""
    encoder, decoder, floats, *clocks = codecs
    original = picture.load()
    path = files / f"{picture.name}.lic"
    path.parent.mkdir(parents=True, exist_ok=True)
    times = [time.perf_counter()]
    encoded = encode(encoder, original, level=level)
    times.append(time.perf_counter())
    path.write_bytes(encoded.file)
    times.append(time.perf_counter())
    data = path.read_bytes()
    times.append(time.perf_counter())
    with holding(encoded.y):
        latents, height, width = decode_latents(decoder, data)
        decoded = reconstruct(decoder, latents, height, width)
    times.append(time.perf_counter())
    coding, writing, reading, decoding = (after - before for before, after in zip(times, times[1:], strict=False))
    analysis, synthesis = (clock.take() for clock in clocks)
    if not latents.equal(encoded.latents):
        raise UserError(f"{path} decodes to other latents than were encoded; expected the same; report this as a bug")
    _check_overhead(encoded, path)
    pixels = height * width
    similarity, values = measures.ms_ssim(decoded, original), measures.of_picture(decoded, original, patches)
    row = ImageRow(
        picture.name, width, height,
        file_bpp=8 * len(data) / pixels,
        psnr=finite(psnr(decoded, original)),
        estimated_bpp=estimated_bits(floats, encoded) / pixels,
        table_bpp=encoded.table_bits / pixels,
        payload_bpp=8 * encoded.payload_bytes / pixels,
        ms_ssim=similarity, ms_ssim_db=ms_ssim_db(similarity),
        encode_seconds=coding + writing, decode_seconds=reading + decoding,
        encode_transform_seconds=analysis, encode_entropy_seconds=coding - analysis, encode_file_seconds=writing,
        decode_transform_seconds=synthesis, decode_entropy_seconds=decoding - synthesis, decode_file_seconds=reading,
        lpips=values.get("lpips"), niqe=values.get("niqe"),
        picture_sha256=hash_of_picture(original), file_sha256=hashlib.sha256(data).hexdigest(),
    )  # fmt: skip
    return row, encoded.streams


def _check_overhead(encoded: Encoded, path: Path) -> None:
    ideal = encoded.table_bits / 8
    if abs(encoded.payload_bytes - ideal) > MAX_OVERHEAD * ideal + MAX_OVERHEAD_BYTES:
        raise UserError(
            f"the payload of {path} has {encoded.payload_bytes} bytes, its tables promise {ideal:.0f}; expected at most "
            f"{MAX_OVERHEAD:.1%} and {MAX_OVERHEAD_BYTES} bytes between them; the coder is wrong, report this as a bug"
        )
