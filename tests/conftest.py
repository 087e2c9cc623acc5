"""What several tests need: the folder of real pictures, where there is one."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photographs and trained weights beside the repository (or $CODEC_SHARED); skips without it."""
    folder = Path(os.environ.get("CODEC_SHARED", REPOSITORY.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no folder of real pictures at {folder}: set CODEC_SHARED to test on them")
    return folder
