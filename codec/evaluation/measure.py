"""Measuring a codec: every picture to a file, the file back to a picture in a codec built anew."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from codec.evaluation.classical import classical_codec
from codec.evaluation.measures import Measures
from codec.evaluation.results import ImageRow, Point, Results, equal_pictures
from codec.files.bundle import Bundle, load_bundle
from codec.files.coding import Encoded, decode_latents, encode, estimated_bits, reconstruct
from codec.metrics.distribution import PatchFeatures
from codec.metrics.quality import finite, ms_ssim, ms_ssim_db, psnr
from codec.types import UserError
from data.testsets import TestImage, TestSet

MAX_OVERHEAD, MAX_OVERHEAD_BYTES = 0.005, 8  # of the payload over its ideal size at the same tables
MAX_ESTIMATE_GAP = 0.01

console = Console()


class Measurement(NamedTuple):
    """What a codec is measured on and by, loaded.

    baselines: names of the classical codecs beside it. measures: what is measured beside rates, PSNR and MS-SSIM.
    """

    test_set: TestSet
    baselines: Sequence[str]
    measures: Measures


def load_measurement(
    test_set: TestSet, baselines: Sequence[str], measures: Sequence[str], perceptual: Mapping[str, Any]
) -> Measurement:
    """The measurement of `test_set` beside `baselines` and by `measures`; those whose networks cannot be had are named.

    perceptual: conf's, the arguments of Measures. Raises UserError for what cannot be measured on the set.
    """
    for name in baselines:
        classical_codec(name)  # a wrong name shows now, not after all the coding
    loaded = Measures(measures, **perceptual)
    loaded.check_size(test_set.pictures, test_set.name)
    for name, reason in loaded.not_computed.items():
        console.print(f"[yellow]{name} will be missing: {reason}", soft_wrap=True)
    return Measurement(test_set, list(baselines), loaded)


def evaluate(bundle: Path, test_set: TestSet, files: Path, measures: Measures | None = None) -> Results:
    """Measure the codec of a bundle on a set; the .lic files of its pictures go below the folder `files`.

    measures: what is measured beside rates, PSNR and MS-SSIM.
    Raises UserError where a decoded latent is not the encoded one, or a payload is larger than its tables allow.
    """
    encoder, decoder = load_bundle(bundle), load_bundle(bundle)
    measures = measures or Measures()
    patches = measures.patch_features()
    rows = [_measure(encoder, decoder, picture, files, measures, patches) for picture in test_set.pictures]
    facts = encoder.header
    config = facts["facts"].get("config", {})
    setting = {"lmbda": config["model"]["lmbda"]} if "model" in config else {}
    if config.get("target_bpp") is not None:
        setting["target_bpp"] = config["target_bpp"]
    description = f"{facts['model']} {facts['arguments']}, bundle {encoder.fingerprint.hex()}"
    if "trained_with" in facts["facts"]:
        description += f", trained with {facts['facts']['trained_with']}"
    point = Point(setting, rows, measures.of_set(patches))
    estimated, table = point.mean("estimated_bpp"), point.mean("table_bpp")
    assert estimated is not None and table is not None
    if abs(estimated / table - 1) > MAX_ESTIMATE_GAP:
        console.print(
            f"[yellow]the estimated rate is {100 * (estimated / table - 1):+.1f} % off the rate at the coder's tables: "
            "symbols lie far beyond their predicted scales, as early in a training",
            soft_wrap=True,
        )
    missing = {"ms_ssim": "some pictures have a side under 161 pixels"} if any(r.ms_ssim is None for r in rows) else {}
    missing |= equal_pictures([point]) | measures.missing(rows, point.of_set)
    name = " ".join(dict.fromkeys(filter(None, (config.get("experiment_name"), facts["model"]))))  # one word where they agree
    return Results(name, description, test_set.name, [point], missing, measures.measured_with)


def _measure(
    encoder: Bundle, decoder: Bundle, picture: TestImage, files: Path, measures: Measures, patches: PatchFeatures | None
) -> ImageRow:
    original = picture.load()
    path = files / f"{picture.name}.lic"
    path.parent.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    encoded = encode(encoder, original)
    encode_seconds = time.perf_counter() - begun
    path.write_bytes(encoded.file)
    data = path.read_bytes()
    begun = time.perf_counter()
    latents, height, width = decode_latents(decoder, data)
    decoded = reconstruct(decoder, latents, height, width)
    decode_seconds = time.perf_counter() - begun
    if not latents.equal(encoded.latents):
        raise UserError(f"{path} decodes to other latents than were encoded; expected the same; report this as a bug")
    _check_overhead(encoded, path)
    pixels = height * width
    similarity = ms_ssim(decoded, original)
    if patches is not None:
        patches.add(decoded, original)
    return ImageRow(
        picture.name, width, height,
        file_bpp=8 * len(data) / pixels,
        psnr=finite(psnr(decoded, original)),
        estimated_bpp=estimated_bits(encoder, encoded) / pixels,
        table_bpp=encoded.table_bits / pixels,
        payload_bpp=8 * encoded.payload_bytes / pixels,
        ms_ssim=similarity, ms_ssim_db=ms_ssim_db(similarity),
        encode_seconds=encode_seconds, decode_seconds=decode_seconds,
        **measures.of_picture(decoded, original),
    )  # fmt: skip


def _check_overhead(encoded: Encoded, path: Path) -> None:
    ideal = encoded.table_bits / 8
    if abs(encoded.payload_bytes - ideal) > MAX_OVERHEAD * ideal + MAX_OVERHEAD_BYTES:
        raise UserError(
            f"the payload of {path} has {encoded.payload_bytes} bytes, its tables promise {ideal:.0f}; expected at most "
            f"{MAX_OVERHEAD:.1%} and {MAX_OVERHEAD_BYTES} bytes between them; the coder is wrong, report this as a bug"
        )
