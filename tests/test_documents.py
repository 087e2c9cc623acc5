"""The documents are true: their commands are commands, their maps name what is there, and the first of them is short."""

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from conftest import REPOSITORY

from codec.cli import _parser, main
from codec.config.command_line import parse_words
from codec.config.compose import composed, configurations, plain, points
from codec.config.identity import identity, run_path
from codec.config.keys import dotted
from codec.runs.identity import NOT_IDENTITY
from codec.training.settings import check_settings

CONF = REPOSITORY / "conf"
BELOW = [path for folder in ("codec", "conf", "data", "sweeps") for path in (REPOSITORY / folder).rglob("[A-Z]*.md")]
NAMES = ["README.md", *sorted(path.relative_to(REPOSITORY).as_posix() for path in BELOW)]


def text_of(name: str) -> str:
    return (REPOSITORY / name).read_text()


def block_lines(text: str) -> Iterator[str]:
    """The lines of the ``` blocks of a document; one that ends in a backslash goes on in the next."""
    for block in re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        yield from block.replace("\\\n", " ").splitlines()


def words_of_array(words: list[str]) -> list[str]:
    """What the first job of sweeps/slurm/lambdas.sh runs."""
    rates, *rest = words[words.index("sweeps/slurm/lambdas.sh") + 1 :]
    return ["codec", "train", "trainer=slurm", f"model.lmbda={rates.split()[0]}", *rest]


def commands_in(line: str) -> Iterator[list[str]]:
    """The words of the `codec` command of a line, if it is one: itself, behind `uv run`, or what sbatch wraps or starts."""
    words = shlex.split(line, comments=True) if line.lstrip().startswith(("codec ", "uv run codec ", "sbatch ")) else []
    if words[:1] == ["sbatch"]:
        words = shlex.split(words[words.index("--wrap") + 1]) if "--wrap" in words else words_of_array(words)
    if "codec" in words[:3]:
        yield words[words.index("codec") + 1 :]


@cache
def check_command(name: str, *words: str) -> list[tuple]:
    """Compose what a command asks for, or parse it; the first and the last point of a sweep. Raises where it is a mistake."""
    if not (CONF / f"{name}.yaml").is_file():
        _parser().parse_args([name, *words])
        return []
    with configurations():
        first, *others = points(parse_words(name, words))
        found = [composed(name, point) for point in (first, *others[-1:])]
        for cfg, _ in found:
            config = plain(cfg)
            if name == "train":
                check_settings(config)
    return found


@pytest.mark.parametrize("document", NAMES)
def test_the_commands_of_a_document_are_commands(document):
    for line in block_lines(text_of(document)):
        for words in commands_in(line):
            try:
                check_command(*words)
            except (Exception, SystemExit) as error:
                raise AssertionError(f"{document}: {line}: {error}") from error


def test_the_documents_have_commands():
    count = {name: sum(len(list(commands_in(line))) for line in block_lines(text_of(name))) for name in NAMES}
    assert sum(count.values()) > 50
    assert all(count[name] for name in ("README.md", "conf/README.md", "data/README.md", "codec/models/README.md"))


@pytest.mark.parametrize("command", ["train", "masks"])
def test_the_examples_of_a_help_are_commands(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    _, examples = capsys.readouterr().out.split("examples:\n", 1)
    lines = [line for line in examples.splitlines() if line.startswith("  codec ")]
    assert len(lines) >= 3
    for line in lines:
        check_command(*re.split(r"\s{2,}", line.strip())[0].split()[1:])  # what it does stands two spaces behind it


def test_a_run_lies_where_the_document_says(monkeypatch):
    monkeypatch.delenv("CODEC_RUNS", raising=False)
    monkeypatch.delenv("CODEC_DATA", raising=False)
    told = [line.split("# runs/") for line in block_lines(text_of("conf/README.md")) if "# runs/" in line]
    assert len(told) >= 5
    for line, folder in told:
        ((words,),) = [list(commands_in(line))]
        ((cfg, choices),) = check_command(*words)
        with configurations():
            assert run_path(cfg, identity(cfg, choices)) == Path("runs") / folder.strip(), line


@pytest.mark.parametrize("document", NAMES)
def test_the_links_of_a_document_lead_somewhere(document):
    folder = (REPOSITORY / document).parent
    for target in re.findall(r"\]\(([^)#\s]+)", text_of(document)):
        assert "://" in target or (folder / target).exists(), f"{document}: {target}"


def test_the_first_document_is_short():
    assert len(text_of("README.md").encode()) <= 7_000


def named(text: str) -> set[str]:
    """What stands in a document as `code`, each of several words too."""
    spans = re.findall(r"`([^`\n]+)`", text)
    return {*spans, *(word for span in spans for word in re.split(r"[\s=,]+", span))}


def test_every_group_with_its_options_and_every_key_without_identity_is_in_the_document_of_settings():
    text = text_of("conf/README.md")
    words = named(text)
    groups = {path.parent.relative_to(CONF) for path in CONF.rglob("*.yaml") if path.parent != CONF}
    for group in {parent for path in groups for parent in (path, *path.parents) if parent != Path()}:
        if group.parent.name != "sizes":
            assert f"| `{group.as_posix()}` |" in text, f"group {group}"
            missing = {path.stem for path in (CONF / group).glob("*.yaml")} - words
            assert not missing, f"options {missing} of {group}"
    with configurations():
        config = plain(composed("train", [])[0])
    keys = {key for key in NOT_IDENTITY if key in set(dotted(config)) or key.startswith("trainer.")}
    assert len(keys) > 10 and keys <= words, keys - words
    assert {path.name for path in CONF.glob("*.yaml")} <= words


def test_the_keys_of_the_document_of_settings_are_keys():
    known: set[str] = set()
    for chosen in (
        ("logger=wandb", "test=folder", "test.root=x"),
        ("schedule=milestones", "data=folder"),
        ("schedule=plateau",),
        ("levels=ladder",),
    ):
        known |= set(dotted(plain(check_command("train", *chosen)[0][0], resolve=False)))
    rows = text_of("conf/README.md").partition("## Keys")[2].partition("\n### ")[0].splitlines()
    keys = [key for row in rows if row.startswith("| `") for key in re.findall(r"`([\w.]+)`", row.split("|")[1])]
    assert len(keys) > 40 and set(keys) <= known, set(keys) - known


def rooms() -> dict[str, list[str]]:
    """The rooms of the map in codec/README.md, from the lowest: what each may import."""
    table, _, _ = text_of("codec/README.md").partition("## Words")
    rows = re.findall(r"^\| `([\w./]+?)/?` \| .+ \| (.+) \|$", table, re.MULTILINE)
    names = [name.removesuffix(".py").removeprefix("../") for name, _ in rows]
    return {
        name: names[:place] if imports == "all" else [word for word in imports.split(", ") if word in names]
        for place, (name, (_, imports)) in enumerate(zip(names, rows, strict=True))
    }


def test_every_room_is_on_the_map_and_imports_from_above_it_what_is_named():
    table = rooms()
    codec = REPOSITORY / "codec"
    there = {path.name for path in codec.iterdir() if path.is_dir() and any(p.suffix != ".pyc" for p in path.iterdir())}
    there |= {path.stem for path in codec.glob("*.py")} - {"__init__"}
    assert there - {"__pycache__"} == table.keys() - {"data"}
    for place, (room, imports) in enumerate(table.items()):
        assert set(imports) <= set(list(table)[:place]), f"{room} stands above what it imports"
    door = codec / "__init__.py"  # to what a program may use
    for path in sorted({*codec.rglob("*.py"), *(REPOSITORY / "data").rglob("*.py")} - {door}):
        parts = path.relative_to(REPOSITORY).with_suffix("").parts
        room = parts[0] if parts[0] == "data" else parts[1]
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for module in modules:
                first, *rest = module.split(".")
                other = "data" if first == "data" else rest[0] if first == "codec" and rest else room
                assert other == room or other in table[room], f"{path} imports {module}: not on the map of codec/README.md"
