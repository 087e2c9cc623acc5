"""A bundle: one safetensors file with all that coding needs, and nothing that runs.

Weights, the integer tables of the range coder, and a JSON header: the model's name out of a fixed table, its arguments
(numbers, words, true and false), the format's version, facts about its training. Entropy networks are in their exact mode
(codec.layers.exact): their weights are rounded before they are written, and the header holds what they must give for symbols
that are always the same, so that a machine which computes anything else is told before it writes a file.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from codec.atomic import write_atomically
from codec.entropy.check import CheckCoder
from codec.entropy.tables import Tables, factorized_tables, gaussian_tables, scale_bounds
from codec.layers.exact import UNIT
from codec.layers.exact_layers import make_exact
from codec.models import Codec, build_model, model_name
from codec.models.unfilled import Unfilled
from codec.types import UserError

FORMAT = 2
SHIPPED = Path(__file__).parents[1] / "shipped" / "mean_scale.safetensors"

CHECK_SIZE = 192, 256  # height and width of the picture whose latents are the check's

# Ballé 2018's ladder of scales: 64 from 0.11 to 256, evenly spaced in log.
SCALE_TABLE = torch.logspace(torch.log2(torch.tensor(0.11, dtype=torch.float64)).item(), 8, 64, base=2.0, dtype=torch.float64)


@dataclass(frozen=True)
class Bundle:
    """A codec that codes: the model in evaluation mode, its tables, and what the bundle says of itself.

    fingerprint: eight bytes that every file names which this codec wrote.
    scale_bounds: by which a predicted scale finds its table; see codec.entropy.tables.scale_bounds.
    """

    model: Codec
    tables: dict[str, Tables]
    scale_bounds: Tensor
    fingerprint: bytes
    header: dict[str, Any]


def _build_tables(model: Codec) -> dict[str, Tables]:
    """The integer tables of a codec, computed in float64 so that they do not depend on the machine."""
    tables = {}
    for name, density in model.densities():
        double = type(density)(density.channels, filters=density.filters).double()
        double.load_state_dict(density.state_dict())
        with torch.no_grad():
            tables[name] = factorized_tables(double.interval_mass, double.quantiles[:, 0, 1], double.quantiles[:, 0, ::2])
    if model.gaussian_prior() is not None:
        tables["gaussian"] = gaussian_tables(SCALE_TABLE)
    return tables


def _make_exact(model: Codec) -> int:
    """Put the entropy networks of `model` into their exact mode; the CRC-32 of what they then give for the check's symbols."""
    for network in model.entropy_networks():
        make_exact(network)
    coder = CheckCoder()
    with torch.no_grad():
        coder.note(model.read(coder, *CHECK_SIZE, model.grid).y_hat)
    return coder.crc


def _fingerprint(tensors: dict[str, Tensor], core: dict[str, Any]) -> bytes:
    """Eight bytes of a hash over what decoding depends on: tensors and architecture, not the training facts."""
    digest = hashlib.sha256(json.dumps(core, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.digest()[:8]


def save_bundle(
    path: Path, model: Codec, facts: dict[str, Any], *, half: bool, scale_rule: str = "nearest", solve: bool = True
) -> None:
    """Write `model` and its coder tables to `path`, whole or not at all.

    facts: about the training, plain JSON values. half: round the networks to float16, before the tables are built.
    scale_rule: see codec.entropy.tables.scale_bounds. solve: set the quantiles by bisection first (a codec trained here);
    an imported codec keeps its own, since they place the medians, and with them the pictures.
    Raises UserError where weights are not finite, or too large for exact sums.
    """
    weights = {name: p.detach().cpu().float().contiguous() for name, p in model.named_parameters()}
    codec = build_model(model_name(model), **model.arguments)
    density_names = {f"{key}." for key, module in model.named_modules() if module in [d for _, d in model.densities()]}
    if half:
        for name in weights:
            if not name.startswith(tuple(density_names)):
                weights[name] = weights[name].half()
    codec.load_state_dict({k: v.float() for k, v in weights.items()}, strict=False)
    if solve:
        for key, module in codec.named_modules():
            if f"{key}." in density_names:
                module.solve_quantiles()  # type: ignore[operator]
    for _, density in codec.densities():
        density.quantiles.data[:, 0, 1] = torch.round(density.medians() / UNIT) * UNIT
    check = _make_exact(codec)
    tensors = {f"weights.{name}": p.detach().to(weights[name].dtype).contiguous() for name, p in codec.named_parameters()}
    if codec.gaussian_prior() is not None:
        tensors["scale_bounds"] = scale_bounds(SCALE_TABLE, scale_rule)
    for name, tables in _build_tables(codec).items():
        tensors |= {f"tables.{name}.{key}": tensor for key, tensor in tables.to_tensors().items()}
    core = {"format": FORMAT, "model": model_name(model), "arguments": model.arguments, "check": check}
    header = {"codec": json.dumps(core, sort_keys=True), "facts": json.dumps(facts, sort_keys=True)}
    write_atomically(path, save(tensors, header))  # safetensors' own save_file hides its files from all but their owner


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, Any]]:
    """Tensors, the header that decoding depends on, and the facts, of the bundle at `path`."""
    if not path.is_file():
        raise UserError(f"no bundle at {path}; expected a codec.safetensors that `codec train` or `codec import` wrote")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            core, facts = json.loads(metadata["codec"]), json.loads(metadata["facts"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            version = int(core["format"])
            str(core["model"]), dict(core["arguments"]), int(core["check"])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is not a bundle ({type(error).__name__}: {error}); expected a codec.safetensors that `codec train` "
            "or `codec import` wrote"
        ) from None
    if version != FORMAT:
        remedy = "install a newer codec" if version > FORMAT else "train or import it again"
        raise UserError(f"{path} has bundle format {version}; this codec reads {FORMAT}; {remedy}")
    return tensors, core, facts


def load_bundle(path: Path) -> Bundle:
    """The codec in the bundle at `path`, ready to code on the CPU.

    Raises UserError for a file that is no bundle, is damaged, or was written by a newer version.
    """
    tensors, core, facts = _read(path)
    weights = {name.removeprefix("weights."): t for name, t in tensors.items() if name.startswith("weights.")}
    model = _build(core, weights, path)
    names = {name.split(".")[1] for name in tensors if name.startswith("tables.")}
    tables = {
        name: Tables.from_tensors({
            key.removeprefix(f"tables.{name}."): t for key, t in tensors.items() if key.startswith(f"tables.{name}.")
        })
        for name in names
    }  # fmt: skip
    expected = {name for name, _ in model.densities()} | ({"gaussian"} if model.gaussian_prior() is not None else set())
    if names != expected:
        raise UserError(f"{path} is damaged: it has tables {sorted(names)}, expected {sorted(expected)}; get it again")
    for name, density in model.densities():
        if len(tables[name].lengths) != density.channels:
            raise UserError(f"{path} is damaged: {len(tables[name].lengths)} tables of stream {name}; get it again")
    bounds = tensors.get("scale_bounds", torch.empty(0, dtype=torch.int32))
    if bounds.dtype != torch.int32 or bounds.shape != (len(tables["gaussian"].lengths) - 1 if "gaussian" in names else 0,):
        raise UserError(f"{path} is damaged: its bounds of scales do not fit its tables; get it again")
    model = model.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    if _make_exact(model) != core["check"]:
        raise UserError(
            f"{path} gives other scales and means on this machine than where it was written; expected the same on every one, "
            "or files would not decode elsewhere; use another version of torch, or another device"
        )
    return Bundle(model, tables, bounds, _fingerprint(tensors, core), core | {"facts": facts})


def _build(core: dict[str, Any], weights: dict[str, Tensor], path: Path) -> Codec:
    """The network that a header names, with the weights beside it.

    Raises UserError where it names none or they are not its own, before more memory is taken than they are worth.
    """
    try:
        with Unfilled(sum(weight.numel() for weight in weights.values())):
            model = build_model(core["model"], **core["arguments"])
    except UserError as error:
        raise UserError(f"{path} is damaged, or written by a newer codec ({error}); get it again") from None
    _set_weights(model, weights, path)
    return model


def _set_weights(model: Codec, weights: dict[str, Tensor], path: Path) -> None:
    """Fill the parameters of `model`; every one, and no others."""
    own = dict(model.named_parameters())
    wrong = sorted(own.keys() ^ weights.keys()) + sorted(
        name for name in own.keys() & weights.keys() if own[name].shape != weights[name].shape
    )
    if wrong:
        raise UserError(
            f"{path} does not fit {model_name(model)} {model.arguments}: {', '.join(wrong[:4])} "
            f"({len(wrong)} tensors); expected a bundle of the same model and widths"
        )
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(weights[name])


def load_weights(model: Codec, path: Path) -> None:
    """Fill `model` with the weights of the bundle at `path`, of the same model and widths."""
    tensors, core, _ = _read(path)
    if core["model"] != model_name(model) or core["arguments"] != model.arguments:
        raise UserError(
            f"init_from={path} holds {core['model']} {core['arguments']}; expected {model_name(model)} {model.arguments}; "
            "set the same model, or another init_from"
        )
    weights = {name.removeprefix("weights."): t for name, t in tensors.items() if name.startswith("weights.")}
    _set_weights(model, weights, path)


def bundle_facts(path: Path) -> dict[str, Any]:
    """What the bundle at `path` says about its training."""
    return _read(path)[2]
