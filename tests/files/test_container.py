"""The .lic file: what was written comes back, and nothing else is taken for it."""

import random
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.files.container import MAX_PIXELS, Container, read_container, write_container
from codec.types import UserError

FINGERPRINT = bytes(range(8))
FILE = write_container(FINGERPRINT, 333, 500, random.Random(0).randbytes(200), 0x12345678)


def sealed(body: bytes) -> bytes:
    """The body with the checksum that fits it, as somebody who wants to do harm would write it."""
    return body + zlib.crc32(body).to_bytes(4, "little")


def sides() -> st.SearchStrategy[tuple[int, int]]:
    """Height and width of any picture that may be written."""
    return st.integers(1, MAX_PIXELS).flatmap(lambda h: st.tuples(st.just(h), st.integers(1, MAX_PIXELS // h)))


@settings(deadline=None)
@given(
    st.binary(min_size=8, max_size=8), sides(), st.binary(max_size=300), st.integers(0, 2**32 - 1),
    st.none() | st.tuples(st.integers(1, 255), st.integers(1, 255)), st.integers(0, 255), st.none() | st.binary(max_size=300),
)  # fmt: skip
def test_what_is_written_comes_back(fingerprint, size, payload, crc, grid, level, level_map):
    data = write_container(fingerprint, *size, payload, crc, grid, level, level_map)
    assert read_container(data) == Container(fingerprint, *size, payload, crc, grid, level, level_map)
    assert len(data) - len(payload) - (0 if level_map is None else len(level_map) + 2) <= 32
    assert data[3] == b"3"[0] + (grid is not None) + 2 * (level_map is not None)


@pytest.mark.parametrize("height, width", [(1, 1), (1, MAX_PIXELS), (MAX_PIXELS, 1), (2**14, 2**13)])
def test_the_smallest_and_the_largest_pictures_fit(height, width):
    data = write_container(FINGERPRINT, height, width, b"", 0)
    assert len(data) <= 26
    assert (read_container(data).height, read_container(data).width) == (height, width)


@pytest.mark.parametrize("height, width", [(0, 5), (5, 0), (2**14, 2**14), (MAX_PIXELS + 1, 1)])
def test_absurd_sizes_are_not_written(height, width):
    with pytest.raises(UserError, match="pixels"):
        write_container(FINGERPRINT, height, width, b"", 0)


def test_each_fault_has_its_own_words():
    cases = {
        "not a .lic file": [b"", b"LI", b"\x89PNG" + FILE[4:], b"GIF89a"],
        "install a newer codec": [FILE[:3] + b"7" + FILE[4:], FILE[:3] + b"1" + FILE[4:], b"LIC"],
        "checksum does not fit": [FILE[:-1], FILE[:4], FILE + b"\0", FILE[:50] + b"\0\0" + FILE[52:]],
        "pixels": [
            sealed(b"LIC3" + FINGERPRINT + b"\0" + b"\0\x05" + bytes(4)),
            sealed(b"LIC3" + FINGERPRINT + b"\0" + b"\xff\xff\xff\xff\x7f" * 2 + bytes(4)),
        ],
        "size cannot be read": [
            sealed(b"LIC3" + FINGERPRINT + b"\0" + bytes([0x85] * 30)),  # no end
            sealed(b"LIC3" + FINGERPRINT + b"\0" + b"\x85\x00\x05" + bytes(4)),  # 5 the long way
            sealed(b"LIC3" + FINGERPRINT + b"\0" + b"\x85\x80\x80\x80\x00\x05" + bytes(4)),
            sealed(b"LIC3" + FINGERPRINT + b"\0" + b"\x05\x85\x05\x05\x05\x05"),  # runs into the checksums
            sealed(b"LIC5" + FINGERPRINT + b"\0" + b"\x05\x05\x02\x01" + bytes(4)),  # a map that does
            sealed(b"LIC5" + FINGERPRINT + b"\0" + b"\x05\x05\xff\xff\xff\xff\x7f" + bytes(9)),
            sealed(b"LIC6" + FINGERPRINT + b"\0" + b"\x05\x05\x01" + bytes(4)),
        ],
    }
    for words, files in cases.items():
        for data in files:
            with pytest.raises(UserError, match=words) as caught:
                read_container(data)
            assert "\n" not in str(caught.value)


def test_the_checksum_is_looked_at_before_the_size():
    damaged = bytearray(sealed(b"LIC3" + FINGERPRINT + b"\0" + b"\0\0" + bytes(4)))
    damaged[-1] ^= 1
    with pytest.raises(UserError, match="checksum"):
        read_container(bytes(damaged))


def test_no_damaged_file_is_taken():
    """10,000 of them: every single byte changed, cuts, additions, noise."""
    rng = random.Random(0)
    for trial in range(10_000):
        data = bytearray(FILE)
        if trial < 20 * len(FILE):
            data[trial % len(FILE)] ^= rng.randrange(1, 256)
        elif trial % 4 == 0:
            data = data[: rng.randrange(len(data))]
        elif trial % 4 == 1:
            data += rng.randbytes(rng.randrange(1, 9))
        elif trial % 4 == 2:
            for place in rng.sample(range(len(data)), rng.randrange(1, 30)):
                data[place] ^= rng.randrange(1, 256)
        else:
            data = bytearray(FILE[: rng.randrange(13)] + rng.randbytes(rng.randrange(300)))
        with pytest.raises(UserError) as caught:
            read_container(bytes(data))
        assert "\n" not in str(caught.value)
