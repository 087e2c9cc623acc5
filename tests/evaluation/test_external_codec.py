"""A classical codec that programs of others are: their commands, their files, and what is told where they fail."""

import sys
import tempfile

import numpy as np
import pytest
import torch
from conftest import picture
from PIL import Image

from codec.evaluation.baselines import measure_baselines
from codec.evaluation.classical import CLASSICAL, measure_classical
from codec.evaluation.classical_codecs import ExternalCodec
from codec.evaluation.measure import load_measurement
from codec.evaluation.results import Results
from codec.evaluation.y4m import as_y4m, from_y4m
from codec.types import UnavailableError, UserError
from data.testsets import TestImage, TestSet

TOOL = """
import sys, zlib
what, source, target, *step = sys.argv[1:]
data = open(source, "rb").read()
if what == "encode":
    kind, size, most, pixels = data.split(b"\\n", 3)
    coded = bytes(value // int(step[0]) for value in pixels)
    open(target, "wb").write(bytes([int(step[0])]) + size + b"\\n" + zlib.compress(coded, 9))
else:
    size, coded = data[1:].split(b"\\n", 1)
    pixels = bytes(min(255, value * data[0] + data[0] // 2) for value in zlib.decompress(coded))
    open(target, "wb").write(b"P6\\n" + size + b"\\n255\\n" + pixels)
"""
SET = TestSet("mine", [TestImage("a", lambda: picture(24, 32)), TestImage("b", lambda: picture(5, 7))])


@pytest.fixture
def tool(tmp_path):
    """A program that rounds and packs, in a folder whose name wants quotes."""
    path = tmp_path / "my tools" / "pack.py"
    path.parent.mkdir()
    path.write_text(TOOL)
    return path


@pytest.fixture
def add(monkeypatch, tool):
    """Makes it one of the classical codecs, or what becomes of it with other fields."""

    def entry(**fields):
        python = f"{sys.executable} -S -E"
        fields = {
            "encoder": f"{python} '{tool}' encode {{input}} {{output}} {{quality}}", "version": f"{python} --version",
            "decoder": f"{python} '{tool}' decode {{input}} {{output}}", "suffix": ".pack", "picture": ".ppm",
        } | fields  # fmt: skip
        monkeypatch.setitem(CLASSICAL, "pack", ExternalCodec("Pack", "step", (60, 20, 6), "RGB", **fields))

    return entry


def test_its_files_are_counted_and_what_they_decode_to_is_measured(add, tool, monkeypatch, tmp_path):
    add()
    monkeypatch.setattr(tempfile, "tempdir", str(tool.parent))  # no blank divides a command
    results = measure_classical("pack", SET)
    (a, b), _, (finest, _) = (point.images for point in results.points)
    original = picture(24, 32)
    rounded = (original // 60 * 60).float().add(30).clamp(max=255)
    mse = float(torch.mean((rounded - original.float()) ** 2))
    assert a.psnr == pytest.approx(10 * torch.log10(torch.tensor(255**2 / mse)).item(), abs=1e-4)
    assert 0 < a.file_bpp < finest.file_bpp and a.psnr < finest.psnr and (b.width, b.height) == (7, 5)
    codec = CLASSICAL["pack"]
    assert [point.setting for point in results.points] == [{"step": 60}, {"step": 20}, {"step": 6}]
    assert "Python 3" in results.description and codec.encoder in results.description and codec.decoder in results.description
    assert list(tool.parent.iterdir()) == [tool]


def test_it_is_measured_once_and_anew_where_its_program_changes(add, tool, monkeypatch, tmp_path):
    add()
    monkeypatch.setenv("CODEC_CACHE", str(tmp_path / "cache"))
    kept = tmp_path / "cache" / "baselines"
    (first,) = measure_baselines(["pack"], SET)
    assert measure_baselines(["pack"], SET) == [first] and len(list(kept.iterdir())) == 1
    tool.write_text(TOOL.replace("data[0] // 2", "data[0] // 3"))
    (changed,) = measure_baselines(["pack"], SET)
    assert changed.curve() != first.curve() and len(list(kept.iterdir())) == 2


@pytest.mark.parametrize(
    "fields, expected",
    [
        ({"encoder": "python3 -c 'raise SystemExit(\"no\")'"}, "at step 60 ended with exit status 1 and said: no; expected"),
        ({"encoder": "true"}, "`true` at step 60 ended with exit status 0 and said: nothing; expected 0 and a file"),
        ({"decoder": "cp {input} {output}"}, "`cp {input} {output}` wrote what is no picture"),
    ],
)  # fmt: skip
def test_what_fails_is_told_in_the_rows_in_one_line(add, fields, expected):
    add(**fields)
    results = measure_classical("pack", SET)
    first = results.points[0].images[0].failed
    assert expected in first and "\n" not in first and expected in results.not_computed["file_bpp"]
    assert results.curve() == [] and all(row.file_bpp is None for point in results.points for row in point.images)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_program_that_is_not_there_is_told_before_anything_is_measured(add, part):
    add(**{part: "nosuchprogram {input} {output}"})
    with pytest.raises(UnavailableError, match=r"Pack: no program nosuchprogram; expected it in \$PATH"):
        measure_classical("pack", SET)


def test_a_measurement_goes_on_without_it_and_its_results_say_why(add, capsys, tmp_path):
    add(encoder="nosuchprogram {input} {output}")
    asked = load_measurement(SET, ["pack", "jpeg"], [], {}, "cpu", None, {})
    assert "pack will be missing: Pack: no program nosuchprogram" in capsys.readouterr().out
    absent, jpeg = measure_baselines(asked.baselines, SET, asked.programs)
    assert absent.points == [] and "nosuchprogram" in absent.not_computed["file_bpp"] and jpeg.points
    absent.write(tmp_path / "pack")
    assert Results.read(tmp_path / "pack.json") == absent


def test_configured_commands_are_baselines_by_their_name(tool):
    python = f"{sys.executable} -S -E '{tool}'"
    fields = {
        "label": "Pack", "parameter": "step", "ladder": [60, 20], "colour": "RGB", "suffix": ".pack", "picture": ".ppm",
        "encoder": f"{python} encode {{input}} {{output}} {{quality}}", "decoder": f"{python} decode {{input}} {{output}}",
        "version": f"{sys.executable} --version",
    }  # fmt: skip
    asked = load_measurement(SET, ["mine"], [], {}, "cpu", None, {"mine": fields})
    (results,) = measure_baselines(asked.baselines, SET, asked.programs)
    assert results.name == "Pack" and len(results.curve()) == 2
    assert results.made_by["colour"] == "RGB" and "Python 3" in results.made_by["version"]
    del fields["decoder"]
    with pytest.raises(UserError, match="test.programs.mine is no encoder .*decoder.*; expected label, parameter, ladder"):
        load_measurement(SET, ["mine"], [], {}, "cpu", None, {"mine": fields})


def test_y4m_is_the_picture_but_for_its_rounding():
    image = Image.fromarray(picture(24, 32).permute(1, 2, 0).numpy())
    data = as_y4m(image)
    assert data.startswith(b"YUV4MPEG2 W32 H24 ") and len(data) == data.index(b"FRAME") + 6 + 3 * 24 * 32
    back = from_y4m(data)
    assert back.size == (32, 24) and np.abs(np.asarray(back, int) - np.asarray(image, int)).max() <= 2
    grey = Image.new("RGB", (3, 2), (77, 77, 77))
    assert as_y4m(grey)[-18:] == bytes([77] * 6 + [128] * 12)
    with pytest.raises(ValueError, match="no YUV4MPEG2 of 4:4:4"):
        from_y4m(data.replace(b"C444", b"C420jpeg"))


def test_programs_of_y4m_get_it_and_give_it_back(tmp_path):
    codec = ExternalCodec(
        "Copy", "qp", (1,), "YCbCr", "cp {input} {output}", "cp {input} {output}", "cp --version", ".bin", ".y4m"
    )
    image = Image.fromarray(picture(24, 32).permute(1, 2, 0).numpy())
    data = codec.encode(image, 1)
    assert data == as_y4m(image) and codec.decode(data) == from_y4m(data)


def test_a_picture_of_another_size_is_no_measurement(add, tool):
    tool.write_text(TOOL.replace('b"P6\\n" + size', 'b"P6\\n1 1"'))
    add()
    row = measure_classical("pack", SET).points[0].images[0]
    assert row.failed == "it came back as (1, 1); expected (32, 24)" and row.psnr is None
