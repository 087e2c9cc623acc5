"""Classes and functions that a configuration names, and the one line where there is none or it takes other values."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from codec.config.nodes import instantiate
from codec.types import UserError


class Refuses:
    """What a user writes, with a check of its own and with a mistake in it."""

    def __init__(self, file: str | None = None, number: int = 0):
        if number < 0:
            raise UserError(f"number={number}; expected at least 0; set part.number")
        if file is not None:
            Path(file).read_text()


def test_a_node_is_what_its_target_makes_of_its_values():
    config = OmegaConf.create({"part": {"_target_": f"{__name__}.Refuses", "number": 3}})
    assert isinstance(instantiate(config.part), Refuses)
    assert instantiate(config.part, _partial_=True).keywords == {"number": 3}


@pytest.mark.parametrize(
    "node, expected",
    [
        ({"_target_": f"{__name__}.Refuse"}, "part: error locating target 'test_nodes.Refuse': ModuleNotFoundError: No module"),
        ({"_target_": "nosuchmodule.Part"}, "part: error locating target 'nosuchmodule.Part': ModuleNotFoundError: No module"),
        ({"_target_": "hydra.utils.get_method", "path": f"{__name__}.nothing"}, "part: error in call to target 'hydra.utils"),
        ({"_target_": f"{__name__}.Refuses", "colour": 1}, "TypeError: Refuses.__init__() got an unexpected keyword"),
        ({"_target_": f"{__name__}.Refuses", "file": "nowhere.txt"}, "No such file or directory: 'nowhere.txt'"),
    ],
)  # fmt: skip
def test_what_cannot_be_made_is_one_line_with_its_key(node, expected):
    with pytest.raises(UserError) as caught:
        instantiate(OmegaConf.create({"part": node}).part)
    said = str(caught.value)
    assert said.startswith("part: ") and expected in said and said.endswith("--debug shows where")
    assert "HYDRA_FULL_ERROR" not in said and "full_key" not in said and "\n" not in said


def test_a_check_of_ones_own_comes_through_as_it_is():
    with pytest.raises(UserError, match=r"^number=-1; expected at least 0; set part.number$"):
        instantiate(OmegaConf.create({"part": {"_target_": f"{__name__}.Refuses", "number": -1}}).part)
