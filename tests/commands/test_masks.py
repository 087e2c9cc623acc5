"""`codec masks` from a folder of pictures to maps, a summary and a contact sheet."""

import re

import numpy as np
import pytest
from PIL import Image

from codec.cli import main


@pytest.fixture
def words(tmp_path):
    """What to ask for: five pictures whose left third is one region, from PNG maps that exist already."""
    for number in range(5):
        for folder in ("pictures", "drawn"):
            (tmp_path / folder).mkdir(exist_ok=True)
        Image.new("RGB", (60, 40 + number)).save(tmp_path / "pictures" / f"{number}.jpg")
        ids = np.tile(np.arange(60) >= 20, (40 + number, 1)).astype(np.uint8)
        Image.fromarray(ids).save(tmp_path / "drawn" / f"{number}.png")
    return ["data=folder", "data/regions=folder", f"data.root={tmp_path}/pictures", f"data.regions.pngs={tmp_path}/drawn",
            f"data.regions.maps={tmp_path}/maps", "processes=2"]  # fmt: skip


def test_maps_are_made_summed_up_and_shown(words, tmp_path, capsys):
    assert main(["masks", *words]) == 0
    said = capsys.readouterr().out
    assert "5 PNG files in" in said and "maps    5 in" in said and "regions 10, in a picture 2 to 2" in said
    assert len(list((tmp_path / "maps").glob("?.png"))) == 5 and (tmp_path / "maps" / "contact_sheet.png").is_file()
    assert main(["masks", *words]) == 0 and "0 made now; 5 found" in capsys.readouterr().out


def test_shards_share_a_folder(words, tmp_path):
    for index in range(2):
        assert main(["masks", *words, f"shard={index}/2"]) == 0
    names = {path.name for path in (tmp_path / "maps").iterdir()}
    assert {"manifest-00000-of-00002.jsonl", "manifest-00001-of-00002.jsonl"} <= names
    assert sum(name[0].isdigit() for name in names) == 5


def test_more_than_one_picture_in_a_hundred_without_a_map_is_an_error(words, tmp_path, capsys):
    (tmp_path / "drawn" / "3.png").unlink()
    assert main(["masks", *words]) == 2
    said = capsys.readouterr()
    assert "maps    4 in" in said.out
    assert re.search("1 of 5 pictures have no map: 3.jpg .no map in .*mend or remove", said.err)


@pytest.mark.parametrize("wrong, line", [
    (["data=offline"], "no source of this data has maps in files"), (["data=folder", "data.root=."], "no source of this data"),
    (["data=offline", "processes=0"], "processes=0; expected"), (["data=offline", "shard=4"], "shard=4; expected"),
])  # fmt: skip
def test_what_cannot_be_made_is_one_line(wrong, line, tmp_path, monkeypatch, capsys):
    Image.new("RGB", (300, 300)).save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    assert main(["masks", *wrong]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert line in said
