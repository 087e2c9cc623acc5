"""A bundle: one safetensors file with all that coding needs, and nothing that runs.

Weights, the integer tables of the range coder, and a JSON header: the model's name out of a fixed table, its arguments
(numbers, words, true and false), the format's version, facts about its training. Entropy networks are in their exact mode
(codec.layers.exact): their weights are rounded before they are written, and the header holds what they must give for symbols
that are always the same, so that a machine which computes anything else is told before it writes a file.

Bundles come from anywhere. codec/files/sealed.py tells a damaged one; what an intact one holds is checked here before anything
is built of it, in memory and time that the file accounts for.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from codec.atomic import write_atomically
from codec.entropy.check import CheckCoder
from codec.entropy.levels import LEVELLED
from codec.entropy.tables import TABLE_TYPES, Tables, factorized_tables, gaussian_tables, joined, scale_bounds
from codec.files.loaded import Bundle
from codec.files.sealed import Sealed, seal, unseal
from codec.layers.exact import UNIT
from codec.layers.exact_layers import make_exact
from codec.layers.in_strips import work_in_strips
from codec.models import Codec, build_model, model_name
from codec.models.unfilled import Unfilled
from codec.models.wider import is_wider, what_to_set, widened
from codec.types import UserError, shown

SHIPPED = Path(__file__).parents[1] / "shipped" / "mean_scale.safetensors"

CHECK_SIZE = 192, 256  # height and width of the picture whose latents are the check's

# Ballé 2018's ladder of scales: 64 from 0.11 to 256, evenly spaced in log.
SCALE_TABLE = torch.logspace(torch.log2(torch.tensor(0.11, dtype=torch.float64)).item(), 8, 64, base=2.0, dtype=torch.float64)


def _build_tables(model: Codec) -> dict[str, Tables]:
    """The integer tables of a codec, computed in float64 so that they do not depend on the machine."""
    tables = {}
    for name, density in model.densities():
        double = type(density)(density.channels, filters=density.filters).double()
        double.load_state_dict(density.state_dict())
        widths = torch.ones(1, density.channels)
        if name == LEVELLED and model.levels is not None:
            _, widths = model.levels.of(torch.arange(model.levels.count))
        medians, tails = double.quantiles[:, 0, 1], double.quantiles[:, 0, ::2]
        with torch.no_grad():
            tables[name] = joined([factorized_tables(double.interval_mass, medians, tails, steps) for steps in widths])
    if model.gaussian_prior() is not None:
        tables["gaussian"] = gaussian_tables(SCALE_TABLE)
    return tables


def _make_exact(model: Codec) -> None:
    """Put the entropy networks of `model` into their exact mode."""
    for network in model.entropy_networks():
        make_exact(network)


def check_value(model: Codec) -> int:
    """The CRC-32 of what the exact networks of `model` give for symbols that are always the same, where they are."""
    coder = CheckCoder()
    with torch.no_grad():
        coder.note(model.read(coder, *CHECK_SIZE, model.grid, model.middle_level).y_hat)
    return coder.crc


def save_bundle(
    path: Path, model: Codec, facts: dict[str, Any], *, half: bool, scale_rule: str = "nearest", solve: bool = True
) -> None:
    """Write `model` and its coder tables to `path`, whole or not at all.

    facts: about the training, plain JSON values. half: round the networks to float16, before the tables are built.
    scale_rule: see codec.entropy.tables.scale_bounds. solve: set the quantiles by bisection first (a codec trained here);
    an imported codec keeps its own, since they place the medians, and with them the pictures.
    Raises UserError where weights are not finite, or too large for exact sums, and for facts that no reader would take.
    """
    if not _are_facts(facts):
        raise UserError(f"facts {shown(facts, 200)} for {path}; expected config, if any, as a training writes it; rename yours")
    weights = {name: p.detach().cpu().float().contiguous() for name, p in model.named_parameters()}
    codec = build_model(model_name(model), **model.arguments)
    density_names = {f"{key}." for key, module in model.named_modules() if module in [d for _, d in model.densities()]}
    if half:
        for name in weights:
            if not name.startswith((*density_names, "levels.")):
                weights[name] = weights[name].half()
    _check_finite(weights, f"no bundle at {path}")
    codec.load_state_dict({k: v.float() for k, v in weights.items()}, strict=False)
    for _, density in codec.densities():
        if solve:
            density.solve_quantiles()
        density.quantiles.data[:, 0, 1] = torch.round(density.medians() / UNIT) * UNIT
    _make_exact(codec)
    of_levels = {}
    if codec.levels is not None:
        gains, steps = codec.levels.on_grid()
        codec.levels.fix(gains, steps)
        of_levels = {"levels.gains": gains, "levels.steps": steps}
    tensors = {f"weights.{name}": p.detach().to(weights[name].dtype).contiguous() for name, p in codec.named_parameters()}
    tensors |= of_levels
    if codec.gaussian_prior() is not None:
        tensors["scale_bounds"] = scale_bounds(SCALE_TABLE, scale_rule)
    for name, tables in _build_tables(codec).items():
        tensors |= {f"tables.{name}.{key}": tensor for key, tensor in tables.to_tensors().items()}
    core = {"model": model_name(model), "arguments": model.arguments, "check": check_value(codec)}
    write_atomically(path, seal(tensors, core, facts))  # safetensors' own save_file hides its files from all but their owner


@dataclass(frozen=True)
class _Parts:
    """What a bundle holds, sorted by purpose: weights by parameter, tensors of tables by stream, gains and steps of levels."""

    sealed: Sealed
    weights: dict[str, Tensor]
    tables: dict[str, dict[str, Tensor]]
    levels: dict[str, Tensor]
    scale_bounds: Tensor | None


def _read(path: Path) -> _Parts:
    """The parts of the bundle at `path`, each of the types that are written.

    Raises UserError for a file that is no bundle, is damaged, or was written by another version.
    """
    sealed = unseal(path)
    core, facts = sealed.core, sealed.facts
    kinds = {"model": str, "arguments": dict, "check": int}
    wrong = [key for key, kind in kinds.items() if type(core.get(key)) is not kind] + sorted(core.keys() - kinds.keys())
    if wrong:
        raise UserError(f"{path} is damaged: {shown(wrong[0])} in its header is nothing that is written; get it again")
    if not _are_facts(facts):
        raise UserError(f"{path} is damaged: what it says of its training is nothing that is written; get it again")
    parts = _Parts(sealed, {}, {}, {}, sealed.tensors.get("scale_bounds"))
    for name, tensor in sealed.tensors.items():
        kind, _, key = name.partition(".")
        stream, _, part = key.rpartition(".")
        if kind == "weights" and tensor.is_floating_point():
            parts.weights[key] = tensor
        elif kind == "tables" and TABLE_TYPES.get(part) is tensor.dtype:
            parts.tables.setdefault(stream, {})[part] = tensor
        elif kind == "levels" and key in ("gains", "steps"):
            parts.levels[key] = tensor
        elif name != "scale_bounds":
            raise UserError(f"{path} is damaged: its tensor {shown(name)} is nothing that is written; get it again")
    return parts


def _are_facts(facts: dict[str, Any]) -> bool:
    """Whether what others read and print of the facts is what a training writes."""
    config = facts.get("config", {})
    if type(config) is not dict:
        return False
    model = config.get("model", {"lmbda": 1.0})
    words = config.get("experiment_name"), facts.get("trained_with"), facts.get("distortion")
    ladders = facts.get("lmbda_by_level", []), facts.get("target_bpp_by_level", [])
    return (
        all(word is None or (type(word) is str and word.isprintable()) for word in words)
        and isinstance(config.get("target_bpp"), float | int | None)
        and type(model) is dict
        and isinstance(model.get("lmbda"), float | int)
        and all(type(ladder) is list and all(isinstance(step, float | int) for step in ladder) for ladder in ladders)
        and all(not ladder or 0 < ladder[0] < ladder[-1] < math.inf for ladder in ladders)
    )


def load_bundle(path: Path) -> Bundle:
    """The codec in the bundle at `path`, ready to code on the CPU.

    Raises UserError for a file that is no bundle, is damaged, or was written by another version.
    """
    parts = _read(path)
    core = parts.sealed.core
    model = _build(core, parts.weights, path)
    tables = {name: Tables.from_tensors(tensors) for name, tensors in parts.tables.items()}
    expected = {name for name, _ in model.densities()} | ({"gaussian"} if model.gaussian_prior() is not None else set())
    if tables.keys() != expected:
        raise UserError(f"{path} is damaged: it has tables {shown(sorted(tables))}, expected {sorted(expected)}; get it again")
    if parts.levels.keys() != (set() if model.levels is None else {"gains", "steps"}):
        raise UserError(f"{path} is damaged: its gains of levels do not fit its arguments; get it again")
    if model.levels is not None:
        try:
            model.levels.fix(**parts.levels)
        except UserError as error:
            raise UserError(f"{path} is damaged ({error}); get it again") from None
    for name, density in model.densities():
        of_levels = 1 if name != LEVELLED or model.levels is None else model.levels.count
        if len(tables[name].lengths) != density.channels * of_levels:
            raise UserError(f"{path} is damaged: {len(tables[name].lengths)} tables of stream {name}; get it again")
    bounds = torch.empty(0, dtype=torch.int32) if parts.scale_bounds is None else parts.scale_bounds.clone()
    num_bounds = len(tables["gaussian"].lengths) - 1 if "gaussian" in tables else 0
    if bounds.dtype != torch.int32 or bounds.shape != (num_bounds,) or not (bounds.diff() >= 0).all():
        raise UserError(f"{path} is damaged: its bounds of scales do not fit its tables; get it again")
    model = model.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    _make_exact(model)
    _check_on_grid(model, parts.weights, path)
    check_exactness(model, core["check"], path)
    work_in_strips(model)
    return Bundle(model, tables, bounds, parts.sealed.fingerprint, core | {"facts": parts.sealed.facts})


def _check_on_grid(model: Codec, weights: Mapping[str, Tensor], path: Path) -> None:
    """Raise UserError where exact arithmetic has to round what was written: another decoder might take it as it is."""
    exact = {name: p for name, p in model.named_parameters() if p.dtype == torch.float64}
    medians = [density.medians() for _, density in model.densities()]
    if not all(p.equal(weights[name].double()) for name, p in exact.items()) or not all(
        m.equal(torch.round(m / UNIT) * UNIT) for m in medians
    ):
        raise UserError(f"{path} is damaged: weights of its entropy networks are not on the grid of exact sums; get it again")


def check_exactness(model: Codec, expected: int, whose: object) -> None:
    """Raise UserError where the exact networks of `model` give another check value than where they were written."""
    if check_value(model) != expected:
        raise UserError(
            f"{whose} gives other scales and means on this machine than where it was written; expected the same on every one, "
            "or files would not decode elsewhere; use another version of torch, or another device"
        )


def _build(core: dict[str, Any], weights: Mapping[str, Tensor], path: object) -> Codec:
    """The network that a header names, with the weights beside it.

    Raises UserError where it names none or they are not its own, before more memory is taken than they are worth.
    """
    try:
        with Unfilled(sum(weight.numel() for weight in weights.values()), len(weights)):
            model = build_model(core["model"], **core["arguments"])
    except UserError as error:
        raise UserError(f"{path} is damaged, or written by a newer codec ({error}); get it again") from None
    _set_weights(model, weights, path)
    return model


def _set_weights(model: Codec, weights: Mapping[str, Tensor], path: object) -> None:
    """Fill the parameters of `model`; every one, and no others; UserError for any that do not fit or are not finite."""
    own = dict(model.named_parameters())
    wrong = sorted(own.keys() ^ weights.keys()) + sorted(
        name for name in own.keys() & weights.keys() if own[name].shape != weights[name].shape
    )
    if wrong:
        raise UserError(
            f"{path} does not fit {model_name(model)} {model.arguments}: {', '.join(map(shown, wrong[:4]))} "
            f"({len(wrong)} tensors); expected a bundle of the same model and widths"
        )
    _check_finite(weights, path)
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(weights[name])


def _check_finite(weights: Mapping[str, Tensor], where: object) -> None:
    """Raise UserError for NaN and infinity: a codec that has them gives black pictures, or none."""
    for name, weight in weights.items():
        if not torch.isfinite(weight).all():
            raise UserError(f"{where}: {name} holds NaN or infinity; expected finite weights; take an earlier checkpoint")


def float_model(bundle: Bundle) -> Codec:
    """A new network with the weights of a bundle, all layers as in training, on the CPU."""
    return _build(bundle.header, dict(bundle.model.named_parameters()), "the bundle")


def in_floats(bundle: Bundle) -> Bundle:
    """The same codec without exact arithmetic: what exactness costs is told from it. Its files decode nowhere else."""
    model = float_model(bundle).eval().requires_grad_(False).to(memory_format=torch.channels_last)
    model.place(bundle.device, bundle.pass_device)
    work_in_strips(model)
    return replace(bundle, model=model)


def load_weights(model: Codec, path: Path) -> dict[str, Any]:
    """Fill `model`, which is fresh, with the weights of the bundle at `path`, of the same model and at most its widths.

    Where the model has several rates and the bundle one, gains stay what they are. Returns the arguments of the bundle's codec.
    """
    parts = _read(path)
    core, weights, arguments = parts.sealed.core, parts.weights, parts.sealed.core["arguments"]
    if model.levels is not None and "levels" not in arguments:
        arguments = arguments | {"levels": model.levels.count}
        weights = weights | {name: gains.detach() for name, gains in model.levels.named_parameters("levels")}
    same = core["model"] == model_name(model)
    if not same or (arguments != model.arguments and not is_wider(model, arguments)):
        raise UserError(
            f"init_from={path} holds {shown(core['model'])} {shown(core['arguments'])}; expected {model_name(model)} "
            f"{model.arguments}, or narrower where it has four stages; set {what_to_set(model, arguments, same)}, "
            "or another init_from"
        )
    _set_weights(model, weights if arguments == model.arguments else widened(model, weights), path)
    return core["arguments"]


def bundle_facts(path: Path) -> dict[str, Any]:
    """What the bundle at `path` says about its training."""
    return _read(path).sealed.facts
