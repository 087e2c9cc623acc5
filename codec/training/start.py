"""The weights with which a run begins: fresh ones, a transform codec made of data, or those of another run.

Of another run it is the weights alone, with a new clock; a run itself is resumed by its own command.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from codec.files.bundle import bundle_facts, load_weights
from codec.losses.base import Loss
from codec.losses.rate_distortion import mse_255
from codec.models import Codec
from codec.models.linear_start import can_start_as_transform_codec
from codec.runs.folder import RunFolder
from codec.types import UserError


def choose_init(asked: str, codec: Codec, loss: Loss) -> str:
    """`pca` or `random`; `auto` is pca where the codec's transforms and the loss allow it.

    Raises UserError for pca where they do not.
    """
    if asked == "random":
        return asked
    fits = can_start_as_transform_codec(codec)
    if asked == "auto":
        return "pca" if fits and loss.of_mse else "random"
    if not loss.of_mse:
        raise UserError("init=pca with a loss other than MSE: its quantisation step follows from lmbda * MSE; set init=auto")
    if not fits:
        raise UserError(f"init=pca for {type(codec).__name__}, whose transforms are not Ballé's four stages; set init=auto")
    return asked


def find_start(source: Path, folder: RunFolder, target_bpp: float | None) -> Path:
    """The bundle of init_from=source, a bundle or the directory of a finished run, for the run in `folder`.

    Raises UserError for what is resumed instead of started from, and for a codec that was steered to another rate.
    """
    if source.is_dir() and source.resolve() == folder.path.resolve():
        raise UserError(f"init_from={source} is the run itself; expected another; without init_from it goes on where it was")
    if source.suffix == ".ckpt":
        raise UserError(
            f"init_from={source} is a checkpoint, from which a run is resumed by its own command; expected a bundle or the "
            "directory of a finished run"
        )
    if source.is_dir() and not RunFolder(source).bundle.is_file():
        raise UserError(
            f"init_from={source} holds no finished run; expected its codec.safetensors; give that run's command again, which "
            "resumes it"
        )
    bundle = RunFolder(source).bundle if source.is_dir() else source
    before = bundle_facts(bundle).get("config", {}).get("target_bpp")
    if before != target_bpp:
        was = "was steered to no rate" if before is None else f"was steered to target_bpp={before}"
        raise UserError(
            f"init_from={source} {was}; expected {target_bpp}, as this run; set the same target_bpp or rate, or another "
            "init_from"
        )
    return bundle


def start_levels(codec: Codec, loss: Loss, reference: float, lmbdas: Sequence[float] = ()) -> None:
    """Begin a codec's levels, where it has any, at the lambdas of the loss, or at others.

    reference: the lambda of the codec's other weights. Raises UserError for a loss that knows of no levels.
    """
    if codec.levels is None:
        return
    if loss.levels is None:
        raise UserError(
            f"{codec.levels.count} levels with a {type(loss).__name__}, which weighs them not; expected a loss that does; set "
            "loss=mse, or levels=null"
        )
    codec.levels.start(lmbdas or loss.levels.lmbdas, reference)


def start_from(codec: Codec, bundle: Path, loss: Loss) -> str:
    """Fill `codec` with the weights of a bundle of the same model; a line on what was loaded.

    A codec of several rates may start from a bundle of one, whose lambda then has gain 1, or of as many at other lambdas; a
    codec of Ballé's four stages from a narrower one (codec/models/wider.py). Lambdas of another distortion say nothing here:
    the levels begin where they do without a bundle, or as those of the bundle in their order.
    Raises UserError where model, widths or tensors do not fit, and for levels that were steered to other rates.
    """
    facts = bundle_facts(bundle)
    targets, before = ([] if loss.levels is None else loss.levels.targets), facts.get("target_bpp_by_level", [])
    if codec.levels is not None and before not in ([], targets):
        ours = f"{targets[0]:.4g} to {targets[-1]:.4g} bpp" if targets else "none that are steered"
        raise UserError(
            f"init_from={bundle} has levels that were steered to {before[0]:.4g} to {before[-1]:.4g} bpp; expected {ours}, as "
            "this run; set the same levels.target_bpp, or another init_from"
        )
    model, lmbdas = facts.get("config", {}).get("model"), facts.get("lmbda_by_level", [])
    distortion = facts.get("distortion") or mse_255.__name__  # of bundles from before it was kept
    compare = distortion == loss.distortion_name
    if compare and model is not None and model["lmbda"] > 0:  # which a bundle of somebody else's may say or not
        start_levels(codec, loss, model["lmbda"], lmbdas)  # all at the bundle's first: new channels move with its own
    arguments = load_weights(codec, bundle)
    if compare and codec.levels is not None and loss.levels is not None and lmbdas not in ([], loss.levels.lmbdas):
        codec.levels.move(lmbdas, loss.levels.lmbdas)
    counts: Counter[str] = Counter()
    for name, parameter in codec.named_parameters():
        counts[name.split(".")[0]] += parameter.numel()
    parts = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    narrower = [name for name in ("N", "M") if arguments.get(name) != codec.arguments.get(name)]
    grown = ", ".join(f"{name}={arguments[name]}" for name in narrower)
    widened = f", widened from {grown}" if grown else ""
    silent = compare or codec.levels is None or (model is None and not lmbdas)
    other = "" if silent else f", whose lambdas, of {distortion}, tell these levels nothing"
    return f"weights from {bundle}{widened}{other}: {parts}; all {counts.total():,} numbers; optimizers and clocks begin anew"
