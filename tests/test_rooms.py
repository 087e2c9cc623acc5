"""The rooms of the house: who may import whom, and how long a file may be."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import REPOSITORY

# Each room (a folder, or a file beside them) and the rooms, or files of them, that it may import beside itself: each of them
# stands above it. What is not named may not be imported, and a room that is not here fails.
MAY_IMPORT = {
    "codec.types": [],
    "codec.atomic": [],
    "codec.machine": [],
    "codec.arguments": ["codec.types"],
    "codec.download": ["codec.types", "codec.atomic"],
    "codec.saved_tensors": ["codec.types"],
    "data": ["codec.types", "codec.atomic", "codec.download"],
    "codec.layers": ["codec.types"],
    "codec.entropy": ["codec.types", "codec.layers"],
    "codec.models": ["codec.types", "codec.layers", "codec.entropy"],
    "codec.files": ["codec.types", "codec.atomic", "codec.saved_tensors", "codec.layers", "codec.entropy", "codec.models"],
    "codec.interface": ["codec.types", "codec.layers", "codec.entropy", "codec.models", "codec.files", "data"],
    "codec.metrics": ["codec.types", "codec.download", "codec.saved_tensors"],
    "codec.optim": ["codec.types"],
    "codec.losses": ["codec.types", "codec.metrics", "codec.optim"],
    # The contract of a codec, and no concrete one.
    "codec.modules": [
        "codec.types", "codec.entropy", "codec.models.base", "codec.models.discriminator", "codec.losses", "codec.optim",
    ],
    "codec.runs": ["codec.types", "codec.atomic"],
    "codec.callbacks": ["codec.types", "codec.atomic", "codec.metrics", "codec.runs"],
    "codec.training": [
        "codec.types", "codec.machine", "codec.saved_tensors", "codec.files", "codec.models", "codec.losses", "codec.optim",
        "codec.modules", "codec.runs", "codec.callbacks", "data",
    ],
    "codec.evaluation": ["codec.types", "codec.atomic", "codec.machine", "codec.files", "codec.metrics", "data"],
    "codec.report": [
        "codec.types", "codec.atomic", "codec.entropy", "codec.files", "codec.interface", "codec.metrics", "codec.runs",
        "codec.evaluation", "data",
    ],
    "codec.benchmark": [
        "codec.types", "codec.machine", "codec.layers", "codec.entropy", "codec.models", "codec.files", "codec.losses",
        "codec.training", "data",
    ],
    "codec.config": [
        "codec.types", "codec.models", "codec.files", "codec.losses", "codec.optim", "codec.modules", "codec.runs",
        "codec.callbacks", "codec.training", "codec.evaluation", "codec.report", "data",
    ],
    "codec.commands": [
        "codec.types", "codec.machine", "codec.atomic", "codec.layers", "codec.models", "codec.files", "codec.losses",
        "codec.modules", "codec.runs", "codec.callbacks", "codec.training", "codec.evaluation", "codec.report",
        "codec.benchmark", "codec.config", "data",
    ],
    # Commands by their names, so that each imports what it needs alone.
    "codec.cli": [
        "codec.types", "codec.arguments", "codec.atomic", "codec.runs.point", "codec.runs.slurm", "codec.training.settings",
        "codec.config.compose",
    ],
    "codec.__main__": ["codec.cli"],
    "codec": ["codec.interface"],
}  # fmt: skip
KNOW_HYDRA = ("codec.config", "codec.commands")
HYDRA = ("hydra", "omegaconf")
MOST_LINES, MOST_LINES_OF_A_COMMAND = 300, 149

FILES = sorted([*REPOSITORY.glob("codec/**/*.py"), *REPOSITORY.glob("data/**/*.py")])


def module_of(path: Path) -> str:
    """codec/models/__init__.py is codec.models."""
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path) for path in FILES}


def is_in(module: str, place: str) -> bool:
    return module == place or module.startswith(place + ".")


def room_of(module: str) -> str | None:
    """The room with a rule that the module lies in. `codec` alone is __init__.py: a new folder is not in it."""
    rooms = [room for room in MAY_IMPORT if (is_in(module, room) if room != "codec" else module == "codec")]
    return max(rooms, key=len, default=None)


def imports(path: Path) -> Iterator[str]:
    """The modules that a file imports, wherever it does."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level and node.module, f"{path}: expected whole names of modules, as everywhere"
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module for name in inside)


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_a_file_imports_what_its_room_may(path):
    room = room_of(module_of(path))
    assert room is not None, f"no rule for the room of {module_of(path)}: say in MAY_IMPORT what it may import"
    for other in imports(path):
        if other.split(".")[0] in ("codec", "data"):
            assert any(is_in(other, allowed) for allowed in (room, *MAY_IMPORT[room])), f"{room} imports {other}"
        assert other.split(".")[0] not in HYDRA or room in KNOW_HYDRA, f"{room} knows Hydra: it imports {other}"


def test_every_rule_points_up():
    """So that no circle is allowed, and no rule speaks of what is not there."""
    rooms = list(MAY_IMPORT)
    for room, allowed in MAY_IMPORT.items():
        assert any(is_in(module, room) for module in MODULES), f"no {room}"
        for other in allowed:
            assert other in MODULES or any(module.startswith(other + ".") for module in MODULES), f"{room} names {other}"
            assert rooms.index(room_of(other)) < rooms.index(room), f"{room} stands above {other}, which it may import"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_a_file_has_one_purpose(path):
    most = MOST_LINES_OF_A_COMMAND if room_of(module_of(path)) == "codec.commands" else MOST_LINES
    assert len(path.read_text().splitlines()) <= most


def functions(path: Path) -> Iterator[tuple[str, ast.FunctionDef, str]]:
    """The public functions and constructors of a file, each with its name and what documents it."""
    for place in ast.walk(ast.parse(path.read_text())):
        for function in place.body if isinstance(place, ast.Module | ast.ClassDef) else []:
            if isinstance(function, ast.FunctionDef) and (function.name == "__init__" or not function.name.startswith("_")):
                documented = ast.get_docstring(function) or ""
                if function.name == "__init__":
                    documented += ast.get_docstring(place) or ""
                yield f"{getattr(place, 'name', path.stem)}.{function.name}", function, documented


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_many_parameters_are_named_in_the_docstring(path):
    """Of what has more than four; what has no docstring does what its base or protocol says."""
    for name, function, documented in functions(path):
        parameters = [a.arg for a in (*function.args.args, *function.args.kwonlyargs) if a.arg not in ("self", "cls")]
        if len(parameters) > 4 and documented and not name.split(".")[0].startswith("_"):
            assert not [parameter for parameter in parameters if parameter not in documented], f"{path.name}: {name}"
