"""`python -m codec`."""

from codec.cli import program

program()
