"""`codec compress` at a quality, a size or a PSNR, and what `codec eval` makes of a codec with several rates."""

import json
import os

import pytest
import torch
from conftest import live_levels, live_model, one_thread, picture
from torchvision.io import write_png

from codec.cli import main
from codec.evaluation.results import Results
from codec.files.bundle import save_bundle
from codec.files.container import read_container

LMBDAS = [0.001, 0.003, 0.01, 0.03, 0.1]


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """A folder of two pictures, and a bundle beside it."""
    folder = tmp_path_factory.mktemp("there")
    (folder / "mine").mkdir()
    for number in range(2):
        write_png(picture(64, 100, number), str(folder / "mine" / f"{number}.png"))
    facts = {"config": {"experiment_name": "several", "model": {"lmbda": 0.01}}, "lmbda_by_level": LMBDAS}
    with one_thread():
        save_bundle(folder / "codec.safetensors", live_levels("mean_scale", 5), facts, half=True)
    return folder


def compress(there, out, *words):
    return main(["compress", str(there / "mine"), str(out), "--codec", str(there / "codec.safetensors"), *words])


def coded(folder):
    return [path.read_bytes() for path in sorted(folder.glob("*.lic"))]


def test_a_folder_within_a_rate(there, tmp_path, capsys):
    assert compress(there, tmp_path / "low", "--quality", "0") == compress(there, tmp_path / "high", "--quality", "100") == 0
    lowest, highest = coded(tmp_path / "low"), coded(tmp_path / "high")
    assert {read_container(data).level for data in lowest} == {0} and {read_container(data).level for data in highest} == {4}
    assert "level 4 of 4" in capsys.readouterr().out
    most = (max(map(len, lowest)) + max(map(len, highest))) // 2
    assert compress(there, tmp_path / "bytes", "--max-bytes", str(most)) == 0
    assert compress(there, tmp_path / "bpp", "--bpp", str(8 * most / 6400)) == 0
    assert all(len(data) <= most for data in coded(tmp_path / "bytes")) and coded(tmp_path / "bytes") == coded(tmp_path / "bpp")
    again = [str(tmp_path / "bytes"), str(tmp_path / "again"), "--codec", str(there / "codec.safetensors")]
    assert main(["decompress", *again]) == 0 and len(list((tmp_path / "again").glob("*.png"))) == 2


def test_what_cannot_be_met_is_said_of_each_picture(there, tmp_path, capsys):
    assert compress(there, tmp_path / "out", "--max-bytes", "40") == 1
    assert "the smallest file of the picture has" in capsys.readouterr().err
    assert compress(there, tmp_path / "out", "--psnr", "90") == 1
    assert compress(there, tmp_path / "out", "--quality", "200") == 2
    with pytest.raises(SystemExit):
        compress(there, tmp_path / "out", "--quality", "20", "--bpp", "1")


def test_nothing_goes_on_from_the_files_of_another_wish(there, roi, tmp_path, capsys):
    """As far as headers and sizes tell; where they do not, it is said."""
    with_map = ["--roi", str(roi)]
    assert compress(there, tmp_path / "out", "--quality", "25") == compress(there, tmp_path / "map", *with_map) == 0
    size = max(map(len, coded(tmp_path / "out")))
    for folder, words, fault in [
        ("out", ["--quality", "75"], "0.lic is there already, at level 1, and 3 is asked for now"),
        ("out", [], "at level 1, and 2 is asked for now"),
        ("map", ["--quality", "75", *with_map], "at level 2 to 3, and 3 to 4 is"),
        ("map", ["--quality", "0", *with_map], "at level 2 to 3, and 0 to 1 is"),
        ("out", ["--quality", "50", *with_map, "--roi-offset", "50"], "at level 1 to 1, and 2 to 4 is"),
        ("map", [], "with a map of levels, and none is asked for now"),
        ("out", ["--max-bytes", str(size - 1)], f"with {size} bytes, and at most {size - 1} are asked for now"),
    ]:  # fmt: skip
        before = coded(tmp_path / folder)
        assert compress(there, tmp_path / folder, *words, "--resume") == 2 and coded(tmp_path / folder) == before
        said = capsys.readouterr().err
        assert fault in said and "--force to write all of them anew" in said and said.count("\n") == 1
    for folder, words, left in [
        ("out", ["--quality", "27"], ""), ("out", ["--psnr", "90"], " (their PSNR not checked)"),
        ("out", ["--bpp", "50"], " (whether larger ones would do not checked)"),
        ("map", with_map, " (their maps of quality not checked)"),
    ]:  # fmt: skip
        assert compress(there, tmp_path / folder, *words, "--resume") == 0
        assert f"0 of 0 files in {tmp_path / folder} beside 2 found there{left}, " in capsys.readouterr().out


@pytest.mark.parametrize("odd", ["folder", "pipe", "link"])
def test_what_lies_at_a_files_place_and_is_none_is_no_file(there, odd, tmp_path, capsys):
    target = tmp_path / "out" / "0.lic"
    target.parent.mkdir()
    {"folder": target.mkdir, "pipe": lambda: os.mkfifo(target), "link": lambda: target.symlink_to("nowhere")}[odd]()
    assert compress(there, tmp_path / "out", "--resume") == 2
    said = capsys.readouterr().err
    assert "0.lic is there already, and no file" in said and said.count("\n") == 1


@pytest.mark.parametrize("size", ["0", "1.5", "20 pounds"])
def test_a_size_that_is_none_is_told_as_one_of_files(there, size, tmp_path, capsys):
    with pytest.raises(SystemExit):
        compress(there, tmp_path / "out", "--max-bytes", size)
    assert f"'{size}' for the size of a file; expected a number and a unit, such as 20K" in capsys.readouterr().err


def test_eval_of_one_bundle_is_a_curve(there, tmp_path, capsys):
    words = [f"codec={there / 'codec.safetensors'}", "test=folder", f"test.root={there / 'mine'}", "test.baselines=[]"]
    assert main(["eval", *words, f"out={tmp_path}", "test.levels=3"]) == 0
    said = capsys.readouterr().out
    results = Results.read(tmp_path / "mine.json")
    assert [point.setting for point in results.points] == [{"lmbda": LMBDAS[level], "level": level} for level in (0, 2, 4)]
    rates = [point.mean("file_bpp") for point in results.points]
    assert rates == sorted(rates) and len(results.curve()) == 3
    assert {path.name for path in (tmp_path / "mine").iterdir()} == {"level_0", "level_2", "level_4"}
    assert all(f"{rate:.3f}" in said for rate in rates)
    assert json.loads((tmp_path / "mine.json").read_text())["results"]["bpp"] == pytest.approx(rates)
    verified = ["verify", str(tmp_path / "mine.json"), "--codec", str(there / "codec.safetensors")]
    assert main([*verified, "--pictures", str(there / "mine")]) == 0
    changed = tmp_path / "mine" / "level_4" / "0.lic"
    data = bytearray(changed.read_bytes())
    data[30] ^= 1
    changed.write_bytes(data)
    assert main([*verified, "--pictures", str(there / "mine")]) == 1
    assert "level_4" in capsys.readouterr().out


@pytest.fixture(scope="module")
def roi(there):
    """A folder of painted maps of the two pictures: of one the left half is white, of the other nothing."""
    (there / "roi").mkdir()
    for number in range(2):
        painted = torch.zeros(1, 64, 100, dtype=torch.uint8)
        painted[:, :, : 50 * (1 - number)] = 255
        write_png(painted, str(there / "roi" / f"{number}.png"))
    return there / "roi"


def test_a_part_of_a_picture_is_better(there, roi, tmp_path, capsys):
    one, words = str(there / "mine" / "0.png"), ["--codec", str(there / "codec.safetensors"), "--quality", "25"]
    with_map = ["--roi", str(roi / "0.png"), "--roi-offset", "50"]
    assert main(["compress", one, str(tmp_path / "a.lic"), *words, *with_map]) == 0
    data = (tmp_path / "a.lic").read_bytes()
    said, file = capsys.readouterr().out, read_container(data)
    assert f"level 1 to 3 of 4, by a map of {len(file.level_map)} bytes in the file" in said
    assert main(["compress", one, str(tmp_path / "plain.lic"), *words]) == 0
    assert read_container((tmp_path / "plain.lic").read_bytes()).level_map is None
    at_most = [*words[:2], "--max-bytes", str(len(data) - 1)]
    assert main(["compress", one, str(tmp_path / "b.lic"), *at_most, *with_map]) == 0
    assert len((tmp_path / "b.lic").read_bytes()) < len(data)
    assert main(["decompress", str(tmp_path / "a.lic"), str(tmp_path / "a.png"), *words[:2]]) == 0
    by_region = ["--roi", str(roi / "0.png"), "--roi-offset", "50", "--roi-regions", "255"]
    assert main(["compress", one, str(tmp_path / "c.lic"), *words, *by_region]) == 0
    assert (tmp_path / "c.lic").read_bytes() == data


def test_each_picture_of_a_folder_has_its_map(there, roi, tmp_path, capsys):
    assert compress(there, tmp_path / "out", "--roi", str(roi), "--batch", "2") == 0
    said = capsys.readouterr().out
    assert "level 2 to 3 of 4, by a map of" in said and "level 2 of 4; its map of quality asks for no more anywhere" in said
    assert [read_container(data).level_map is None for data in coded(tmp_path / "out")] == [False, True]
    assert (
        main(["decompress", str(tmp_path / "out"), str(tmp_path / "again"), "--codec", str(there / "codec.safetensors")]) == 0
    )
    (roi / "1.png").rename(roi / "2.png")
    assert compress(there, tmp_path / "less", "--roi", str(roi)) == 1
    assert "no map of quality at" in capsys.readouterr().err and len(coded(tmp_path / "less")) == 1
    (roi / "2.png").rename(roi / "1.png")


@pytest.mark.parametrize(
    "grey, words, said",
    [
        (None, ["--quality", "100"], "level 4 of 4; its map of quality changes nothing, since no level is higher"),
        (255, ["--quality", "50"], "level 3 of 4; its map of quality asks for the same everywhere"),
        (0, ["--quality", "100"], "level 4 of 4; its map of quality asks for no more anywhere"),
    ],
)
def test_why_a_map_does_nothing_is_said(there, roi, tmp_path, capsys, grey, words, said):
    one, given = str(there / "mine" / "0.png"), roi / "0.png"
    if grey is not None:
        given = tmp_path / "map.png"
        write_png(torch.full((1, 64, 100), grey, dtype=torch.uint8), str(given))
    words = [*words, "--roi", str(given), "--codec", str(there / "codec.safetensors")]
    assert main(["compress", one, str(tmp_path / "a.lic"), *words]) == 0
    assert capsys.readouterr().out.endswith(f"{said}\n")
    assert read_container((tmp_path / "a.lic").read_bytes()).level_map is None


def test_maps_that_do_not_fit_are_one_line(there, roi, tmp_path, capsys):
    one, words = str(there / "mine" / "0.png"), ["--codec", str(there / "codec.safetensors")]
    write_png(torch.zeros(1, 64, 101, dtype=torch.uint8), str(tmp_path / "wide.png"))
    with one_thread():
        save_bundle(tmp_path / "single", live_model("mean_scale"), {}, half=True)
    for more, expected in [
        (["--roi", str(tmp_path / "wide.png")], "a map of quality of 101x64 for a picture of 100x64"),
        (["--roi", str(roi / "0.png"), "--roi-offset", "0"], "an offset of quality of 0"),
        (["--roi", str(roi / "0.png"), "--roi-offset", "12"], "half the step between two of 5 levels; expected more than 12.5"),
        (["--roi", str(roi / "0.png"), "--roi-regions", "3"], "no region 3 in"),
        (["--roi", str(roi)], "expected a folder of maps for a folder of pictures"),
        (["--roi-offset", "3"], "--roi-offset or --roi-regions without --roi"),
        (["--roi", str(roi / "0.png"), "--codec", str(tmp_path / "single")], "a map of quality for a codec of one rate"),
    ]:
        assert main(["compress", one, str(tmp_path / "a.lic"), *words, *more]) == 2
        said = capsys.readouterr().err
        assert expected in said and said.count("\n") == 1
    with pytest.raises(SystemExit):
        main(["compress", one, str(tmp_path / "a.lic"), *words, "--roi", str(roi / "0.png"), "--roi-regions", "a,b"])
    assert not (tmp_path / "a.lic").exists()
