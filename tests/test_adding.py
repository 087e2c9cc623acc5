"""What codec/README.md says is added to a copy of this tree, as it says, and used there."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from conftest import REPOSITORY, picture
from PIL import Image

README = (REPOSITORY / "codec" / "README.md").read_text()
DOCUMENT = "\n" + README[README.index("## How to add") :]
SECTIONS = dict(re.findall(r"^### (.+?)\n(.*?)(?=^##|\Z)", DOCUMENT.partition("\n## How to add\n")[2], re.S | re.M))
NAMED = re.compile(r"(?:# @package .+\n)?# (?P<path>[\w/]+\.(?:py|yaml))(?:, after: (?P<after>.+))?\n")
PLACES = {"DIR": "run", "BUNDLE": "codec.safetensors", "LIST": "list.txt", "PATH": "arrays", "P": "arrays/pictures.npy"}


class Block(NamedTuple):
    """A fenced block: the file that it is, or the file and the line there after which it goes."""

    path: str
    after: str | None
    text: str


def blocks_of(section: str) -> list[Block]:
    found = []
    for text in re.findall(r"^```\w+\n(.*?)^```$", section, re.S | re.M):
        named = NAMED.match(text)
        assert named is not None, f"no file named in the first line of:\n{text}"
        found.append(Block(named["path"], named["after"], text if named["after"] is None else text[named.end() :]))
    return found


def add(block: Block, tree: Path) -> None:
    """Do to a copy of the tree what a block says."""
    path = tree / block.path
    if block.after is None:
        assert path.parent.is_dir() and not path.exists(), f"{block.path} is to be a new file in a folder that is there"
        path.write_text(block.text)
        return
    lines = path.read_text().splitlines(keepends=True)
    (place,) = (number for number, line in enumerate(lines, start=1) if line.strip() == block.after)
    path.write_text("".join([*lines[:place], block.text, *lines[place:]]))


def commands_of(section: str) -> list[list[str]]:
    """The words of each `codec …` in its sentences, with real names where it has capitals."""
    given = re.findall(r"`codec (\w+ [^`]+)`", section)
    return [re.sub(r"\b[A-Z]+\b(?!\w)", lambda word: PLACES.get(word[0], word[0]), words).split() for words in given]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of all that runs, with every example added."""
    copy = tmp_path_factory.mktemp("tree")
    for folder in ("codec", "data", "conf"):
        shutil.copytree(REPOSITORY / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for section in SECTIONS.values():
        for block in blocks_of(section):
            add(block, copy)
    return copy


def run(code, tree, *arguments, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=tree, capture_output=True, text=True, env=os.environ | environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("section", SECTIONS)
def test_each_kind_is_added_in_at_most_two_files(section):
    files = {block.path for block in blocks_of(SECTIONS[section])}
    assert 1 <= len(files) <= 2
    table = re.search(rf"^\| \[{section.lower()}\]\(#([\w-]+)\)", DOCUMENT, re.M)
    assert table is not None and table[1] == section.lower().replace(" ", "-")


COMPOSE = """
import json, sys
from codec.cli import COMMANDS, _parser
from codec.config.compose import prepared
for name, *words in json.loads(sys.argv[1]):
    if COMMANDS[name].arguments is None:
        prepared(name, words)
    else:
        _parser().parse_args([name, *words])
"""


def test_the_commands_of_the_document_are_commands(tree):
    commands = [words for section in SECTIONS.values() for words in commands_of(section)]
    assert len(commands) >= len(SECTIONS)
    run(COMPOSE, tree, json.dumps(commands))


RUN = """
import json, sys
from codec.cli import main
for words in json.loads(sys.argv[1]):
    assert main(words) == 0, words
"""

# Stands in for libavif's programs: their words, and JPEG's bytes.
AVIFENC = """#!{python}
import sys
from PIL import Image
words = sys.argv[1:]
if words == ["--version"]:
    print("Version: 1.4.2")
    raise SystemExit(1)
source, target = words[-2:]
if "-q" in words:
    assert words[:2] == ["-y", "444"]
    Image.open(source).save(target, "JPEG", quality=int(words[words.index("-q") + 1]), subsampling=0)
else:
    Image.open(source).save(target)
"""

TINY = [
    "steps=2", "model.N=8", "model.M=12", "data.crop=64", "data.batch_size=2", "data.num_workers=0", "test.baselines=[avifenc]",
    "trainer.limit_val_batches=1", "trainer.accelerator=cpu", "test=listed", "test.file=list.txt",
]  # fmt: skip
LIVELY = ["optim.lr=0.3", "optim.clip_norm=null"]  # after two steps of it latents are no longer all zeros


@pytest.fixture(scope="module")
def used(tree):
    """The tree after two trainings of two steps that use everything in it; what was printed."""
    for name in ("avifenc", "avifdec"):
        (tree / name).write_text(AVIFENC.format(python=sys.executable))
        (tree / name).chmod(0o755)
    (tree / "arrays").mkdir()
    np.save(tree / "arrays" / "pictures.npy", np.stack([picture(80, 96, seed).permute(1, 2, 0).numpy() for seed in range(3)]))
    Image.fromarray(picture(70, 90).permute(1, 2, 0).numpy()).save(tree / "mine.png")
    (tree / "list.txt").write_text("mine.png\n")
    (tree / "options" / "loss").mkdir(parents=True)
    (tree / "options" / "loss" / "mine.yaml").write_text("# @package _global_\ndefaults: [decibels, _self_]\n")
    commands = [
        ["train", "model=two_slices", "loss=l1", "data=array_file", "data.root=arrays", *TINY, *LIVELY, "run_dir=first"],
        ["train", "--config-dir", "options", "loss=mine", "data=array_file", "data.root=arrays", *TINY, "run_dir=second"],
        ["describe", "first/codec.safetensors"],
        ["compress", "mine.png", "mine.lic", "--codec", "first/codec.safetensors"],
        ["decompress", "mine.lic", "mine_decoded.png", "--codec", "first/codec.safetensors"],
    ]
    path = f"{tree}{os.pathsep}{os.environ['PATH']}"
    return tree, run(RUN, tree, json.dumps(commands), PATH=path, OMP_NUM_THREADS="1")


def logged(run):
    """The last value of each column of a log."""
    with (run / "metrics.csv").open() as file:
        return {key: float(value) for row in csv.DictReader(file) for key, value in row.items() if value}


@pytest.mark.slow
def test_the_model_trains_writes_a_bundle_and_codes(used):
    tree, printed = used
    assert re.search(r"^two_slices \{'M': 12, 'N': 8\}, [\d,]+ numbers", printed, re.M)
    assert Image.open(tree / "mine_decoded.png").size == (90, 70)
    file = (tree / "mine.lic").read_bytes()
    assert len(file) > 1000 and file == (tree / "first" / "results" / "list" / "mine.lic").read_bytes()


@pytest.mark.slow
def test_the_losses_are_what_is_minimised(used):
    tree, _ = used
    first, second = logged(tree / "first"), logged(tree / "second")
    assert first["train/loss"] == pytest.approx(0.1 * first["train/distortion"] + first["train/bpp"], rel=1e-5)
    assert first["train/distortion"] ** 2 < first["train/mse"] * 255**2  # the mean of |e| is below the root of that of e^2
    assert second["val/loss"] == pytest.approx(np.log2(second["val/bpp"] * second["val/mse"]), rel=1e-4)


@pytest.mark.slow
def test_the_set_and_the_classical_codec_are_measured(used):
    tree, _ = used
    ours, avif = (json.loads((tree / "first" / "results" / f"{name}.json").read_text()) for name in ("list", "list_avifenc"))
    assert [row["name"] for row in ours["points"][0]["images"]] == ["mine"]
    assert [point["setting"]["quality"] for point in avif["points"]] == [20, 30, 40, 50, 60, 70, 80]
    assert avif["results"]["bpp"] == sorted(avif["results"]["bpp"])
    assert "Version: 1.4.2" in avif["description"] and "avifenc -y 444 -q {quality}" in avif["description"]
    assert avif["made_by"]["colour"] == "YCbCr 4:4:4"


@pytest.mark.slow
def test_the_figure_is_written(used):
    tree, _ = used
    assert min(Image.open(tree / "first" / "report" / "list_by_picture.png").size) > 500
