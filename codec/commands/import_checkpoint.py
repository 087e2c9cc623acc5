"""`codec import`: published checkpoints as bundles."""

import argparse

from codec.files.bundle import save_bundle
from codec.files.jobs import is_taken
from codec.files.published import load_published
from codec.types import UserError


def run(arguments: argparse.Namespace) -> int:
    """Write the bundle of a published checkpoint; quantiles, medians and the rule of its scale tables stay its own."""
    if is_taken(arguments.out) and not arguments.force:
        raise UserError(f"{arguments.out} is there already; expected a new name; say --force to overwrite")
    model = load_published(arguments.kind, arguments.checkpoint)
    facts = {"imported": {"kind": arguments.kind, "file": arguments.checkpoint.name}}
    save_bundle(arguments.out, model, facts, half=False, scale_rule="upper", solve=False)
    print(f"{type(model).__name__} {model.arguments} in {arguments.out}")
    return 0
