"""Reader of the `.wandb` file that an offline run leaves: wandb itself reads it in its Go part only.

A header of 7 bytes (":W&B", a magic number, a version), then a LevelDB log: blocks of 32 KiB, in them chunks with a
header of 7 bytes (crc, length, type); a record is one whole chunk or a first, middle ones and a last.
"""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

BLOCK, HEADER = 32768, 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def read_records(path: Path) -> Iterator[Record]:
    """The records of a finished run, in order."""
    data = path.read_bytes()
    assert data[:4] == b":W&B"
    position, parts = HEADER, b""
    while position + HEADER <= len(data):
        if BLOCK - position % BLOCK < HEADER:  # too little for a header: zeros up to the next block
            position += BLOCK - position % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        chunk = data[position + HEADER : position + HEADER + length]
        assert len(chunk) == length and kind in (FULL, FIRST, MIDDLE, LAST)
        position += HEADER + length
        parts = chunk if kind in (FULL, FIRST) else parts + chunk
        if kind in (FULL, LAST):
            yield Record.FromString(parts)


def history_rows(records: list[Record]) -> list[dict[str, Any]]:
    """What `log` was called with, a row a call; keys that W&B adds begin with an underscore."""
    rows = []
    for record in records:
        if record.WhichOneof("record_type") == "history":
            row: dict[str, Any] = {}
            for item in record.history.item:
                *outer, name = item.nested_key or [item.key]
                place = row
                for key in outer:
                    place = place.setdefault(key, {})
                place[name] = json.loads(item.value_json)
            rows.append(row)
    return rows
