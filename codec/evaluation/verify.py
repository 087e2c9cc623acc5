"""Whether results are what they say: the same files, pictures and codec, decoded and measured once more."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from codec.evaluation.results import ImageRow, Results, hash_of_picture
from codec.files.bundle import load_bundle
from codec.files.coding import decode_latents, reconstruct
from codec.files.loaded import Bundle
from codec.metrics.quality import finite, ms_ssim, psnr
from codec.types import UserError
from data.testsets import TestImage, TestSet

PSNR_TOLERANCE, MS_SSIM_TOLERANCE = 0.01, 1e-4  # latents are exact anywhere, the synthesis is rounded by each machine


def differences(results: Results, files: Path, bundle: Path, test_set: TestSet) -> Iterator[str]:
    """What is not as the results say, a line each; nothing where all is.

    files: the folder of the .lic files, named after their pictures. bundle: of the codec that wrote them.
    Raises UserError for results that say no hashes, and for a bundle that is no sound one.
    """
    if "bundle" not in results.made_by:
        raise UserError(
            f"results of {results.name} without hashes of what they were measured on; expected those of a bundle, "
            "which keep its files; measure them by codec eval"
        )
    codec, expected = load_bundle(bundle), results.made_by["bundle"]
    if codec.fingerprint.hex() != expected:
        yield f"{bundle}: its fingerprint is {codec.fingerprint.hex()}, the results are of {expected}"
        return
    pictures = {picture.name: picture for picture in test_set.pictures}
    rows = [(row, point) for point in results.points for row in point.images]
    yield from (f"{name}: the results have no such picture" for name in pictures.keys() - {row.name for row, _ in rows})
    for row, point in rows:
        if row.name not in pictures:
            yield f"{row.name}: no such picture in {test_set.name}"
        else:
            yield from (f"{row.name}: {line}" for line in _of_picture(row, pictures[row.name], point.files(files), codec))


def _of_picture(row: ImageRow, picture: TestImage, files: Path, codec: Bundle) -> Iterator[str]:
    original = picture.load()
    if hash_of_picture(original) != row.picture_sha256:
        yield "other pixels than were measured"
        return
    path = files / f"{row.name}.lic"
    if not path.is_file():
        yield f"no file at {path}"
        return
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != row.file_sha256:
        yield f"{path} has other bytes than were measured"
        return
    latents, height, width = decode_latents(codec, data)
    decoded = reconstruct(codec, latents, height, width)
    if 8 * len(data) / (height * width) != row.file_bpp:
        yield f"{8 * len(data) / (height * width):.6f} bpp, the results say {row.file_bpp}"
    for name, found, said, tolerance in (
        ("PSNR", finite(psnr(decoded, original)), row.psnr, PSNR_TOLERANCE),
        ("MS-SSIM", ms_ssim(decoded, original) if row.ms_ssim is not None else None, row.ms_ssim, MS_SSIM_TOLERANCE),
    ):
        if (found is None) != (said is None) or (found is not None and said is not None and abs(found - said) > tolerance):
            yield f"{name} {found}, the results say {said}"
