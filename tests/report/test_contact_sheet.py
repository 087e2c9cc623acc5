"""A contact sheet shows where regions meet."""

import numpy as np
from PIL import Image

from codec.report.contact_sheet import BORDER, COLUMNS, GAP, LINE, SIDE, Panel, write_contact_sheet
from data.images import read_image


def test_a_sheet_shows_borders_where_regions_meet(tmp_path):
    ids = np.zeros((320, 320), dtype=int)
    ids[:, 100:] = 1
    grey = read_image(_save(tmp_path / "grey.png", np.full((320, 320, 3), 90, dtype=np.uint8)))
    write_contact_sheet([Panel("a", grey, ids)] * (COLUMNS + 1), tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (2 * (LINE + GAP + SIDE) + GAP, COLUMNS * (SIDE + GAP) + GAP, 3)
    first = sheet[GAP + LINE :, GAP:][:SIDE, :SIDE]
    on_border = (first == BORDER).all(axis=2)
    assert on_border[:, 99].all() and on_border.sum() == SIDE and (first[~on_border] == 90).all()


def _save(path, pixels):
    Image.fromarray(pixels).save(path)
    return path
