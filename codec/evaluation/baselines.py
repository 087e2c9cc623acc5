"""The classical codecs on a set, measured once and kept: their figures depend on pictures, settings and libraries alone.

What is kept is one file a codec and set, named after the hash of all that it depends on: the hash of the results, and they.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from codec.atomic import write_atomically
from codec.evaluation.classical import classical_codec, measure_classical
from codec.evaluation.classical_codecs import ClassicalCodec
from codec.evaluation.results import ImageRow, Results, hash_of_picture
from codec.types import UnavailableError
from data.testsets import TestSet

FORMAT = 2  # of what is kept, and of how measure_classical measures: another one finds nothing
KEPT = "; measured once on these pictures and kept, its times are of then"


def cache_folder() -> Path:
    """Where this user's results are kept: $CODEC_CACHE, or `codec` in the folder that the system has for such things."""
    asked = os.environ.get("CODEC_CACHE")
    return Path(asked) if asked else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "codec"


def measure_baselines(names: Sequence[str], test_set: TestSet, programs: Mapping[str, ClassicalCodec] = {}) -> list[Results]:
    """What measure_classical gives for each codec of `names`; what was measured before, on any set of these pictures, is read.

    programs: see classical_codec. The times of encoding and decoding stay those of the measurement, as the description says.
    A codec that this machine cannot run has no points, and says why. Raises UserError as classical_codec does.
    """
    pictures = _hash_of_pictures(test_set) if names else ""
    return [_measured_once(name, classical_codec(name, programs), test_set, pictures) for name in names]


def _hash_of_pictures(test_set: TestSet) -> str:
    """Of names, sizes and all pixels."""
    digest = hashlib.sha256()
    for picture in test_set.pictures:
        digest.update(json.dumps([picture.name, hash_of_picture(picture.load())]).encode())
    return digest.hexdigest()


def _measured_once(name: str, codec: ClassicalCodec, test_set: TestSet, pictures: str) -> Results:
    try:
        codec.check()
    except UnavailableError as reason:
        return Results(codec.label, "not measured", test_set.name, [], {"file_bpp": str(reason)})
    depends = {"format": FORMAT, "columns": [field.name for field in fields(ImageRow)], "pictures": pictures}
    depends |= {"codec": asdict(codec), "libraries": codec.versions()}
    key = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()
    path = cache_folder() / "baselines" / f"{name}-{key}"
    results = _read(path)
    if results is None:
        results = measure_classical(name, test_set, {name: codec})
        if any(row.failed for point in results.points for row in point.images):
            return results  # which may be another time's luck
        results = replace(results, description=results.description + KEPT)
        _keep(results, path)
    return replace(results, dataset=test_set.name)


def _read(path: Path) -> Results | None:
    """What is kept there; None where that is nothing, or nothing whole."""
    try:
        checksum, _, content = path.read_bytes().partition(b"\n")
        whole = checksum.decode() == hashlib.sha256(content).hexdigest()
        return Results.from_json(content.decode()) if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(results: Results, path: Path) -> None:
    content = results.to_json().encode()
    try:
        write_atomically(path, hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
    except OSError as error:
        reason = escape(f"{results.name} will be measured again next time: nothing can be kept in {path.parent} ({error})")
        Console().print(f"[yellow]{reason}; set CODEC_CACHE to a folder where that can be", soft_wrap=True)
