"""`codec train`: compose, train, export, code the test set for real, report; with -m, one run a point and one plot."""

import hashlib
import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
import lightning
import torch
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from codec.callbacks.checkpoint import SaveCheckpoints
from codec.callbacks.progress import ShowProgress
from codec.callbacks.reconstructions import SaveReconstructions
from codec.config.measurement import load_asked, load_test_set
from codec.evaluation.measure import Measurement
from codec.evaluation.results import Results
from codec.files.bundle import save_bundle
from codec.models import build_model
from codec.models.discriminator import Discriminator
from codec.models.linear_start import start_as_transform_codec
from codec.modules.adversarial import AdversarialModule
from codec.modules.base import CodecModule
from codec.modules.rate_distortion import RateDistortionModule
from codec.report.of_set import measure_and_report
from codec.report.plots import write_rate_plot, write_rd_plot
from codec.report.tables import print_savings, print_table
from codec.runs.folder import RunFolder, run_name
from codec.runs.slurm import check_tasks
from codec.runs.tracking import is_first_rank, make_loggers
from codec.training.memory import keep_freed_memory
from codec.training.precision import choose_precision
from codec.training.warm_start import find_start, start_from
from codec.types import UserError
from data.module import ImageDataModule

START_CROPS = 128  # pictures from which init=pca takes its components
OF_SECOND_STAGE = ("experiment", "warmup", "adversarial", "steps", "init_from", "run_dir")  # overrides that end there
COMPILE_PAYS = 5000  # steps: compiling costs a minute or two and then saves about a third of a step

console = Console()


def width_at(lmbda: float, ladder: Sequence[float], num_narrow: int, narrow: int, wide: int) -> int:
    """The paper's width for a rate point: `narrow` up to the ladder's num_narrow-th lambda, `wide` beyond."""
    return narrow if lmbda <= math.sqrt(ladder[num_narrow - 1] * ladder[num_narrow]) else wide


def paper_or_tiny(paper: Any, tiny: Any, _root_: DictConfig) -> Any:
    """The value for the profile that was asked for."""
    return tiny if _root_.profile == "tiny" else paper


def file_or_random(path: str) -> str:
    """The path where there is a file, `random` elsewhere: the weights of a perceptual distance in a trial."""
    return path if Path(path).is_file() else "random"


OmegaConf.register_new_resolver("width_at", width_at, replace=True)
OmegaConf.register_new_resolver("run_name", run_name, replace=True)
OmegaConf.register_new_resolver("paper_or_tiny", paper_or_tiny, replace=True)
OmegaConf.register_new_resolver("file_or_random", file_or_random, replace=True)


POSITIVE = ("steps", "val_every", "log_every", "save_every", "data.batch_size", "trainer.accumulate_grad_batches")


def _check_numbers(cfg: DictConfig) -> None:
    """Raise UserError for counts that are none, and rates that are no numbers."""
    for key in POSITIVE:
        value = OmegaConf.select(cfg, key)
        if not isinstance(value, int) or value < 1:
            raise UserError(f"{key}={value}; expected a whole number, at least 1; set {key}")
    for key in ("model.lmbda", "optim.lr", "optim.quantiles_lr"):
        value = OmegaConf.select(cfg, key)
        if not isinstance(value, (int, float)) or value <= 0:
            raise UserError(f"{key}={value}; expected a number above 0; set {key}")
    if not isinstance(cfg.seed, int) or cfg.seed < 0:
        raise UserError(f"seed={cfg.seed}; expected a whole number, at least 0; set seed")
    if cfg.ema is not None and not (isinstance(cfg.ema, float) and 0 < cfg.ema < 1):
        raise UserError(f"ema={cfg.ema}; expected null, or a number between 0 and 1 such as 0.999; set ema")


def _check(cfg: DictConfig) -> Measurement:
    """What to measure on and by. Raises UserError for settings that cannot work together."""
    _check_numbers(cfg)
    measurement = load_asked(cfg)  # what is missing is found now, not after the training
    if cfg.profile is not None and not cfg.profiles:
        raise UserError(f"profile={cfg.profile} of {cfg.experiment_name}, which has one size; leave profile out")
    if cfg.init not in ("pca", "random"):
        raise UserError(f"init={cfg.init}; expected pca or random; set init")
    if cfg.init == "pca" and not cfg.loss.distortion.path.endswith(".mse_255"):
        raise UserError("init=pca with a loss other than MSE: its quantisation step follows from lmbda * MSE; set init=random")
    low, high = min(cfg.ladder) / 10, max(cfg.ladder) * 10
    if not low <= cfg.model.lmbda <= high:
        raise UserError(
            f"model.lmbda={cfg.model.lmbda}; the published lambdas of this loss are {list(cfg.ladder)}; "
            "set model.lmbda near them, or another loss"
        )
    return measurement


def _build_module(cfg: DictConfig, data: ImageDataModule, folder: RunFolder, resumes: bool) -> CodecModule:
    """The module with a codec that has its starting weights."""
    arguments = {k: v for k, v in cfg.model.items() if k not in ("name", "lmbda")}
    torch.manual_seed(cfg.seed)
    codec = build_model(cfg.model.name, **arguments)
    if cfg.init_from is not None and not resumes:
        console.print(start_from(codec, find_start(Path(cfg.init_from), folder, cfg.target_bpp)))
    elif cfg.init == "pca" and not resumes:
        start_as_transform_codec(codec, data.sample_crops(START_CROPS), cfg.model.lmbda)
    codec = codec.to(memory_format=torch.channels_last)
    if cfg.compile is True or (cfg.compile == "auto" and cfg.steps >= COMPILE_PAYS):
        for transform in codec.transforms():
            transform.compile()
    loss, schedule = instantiate(cfg.loss), instantiate(cfg.schedule)
    if cfg.adversarial is None:
        return RateDistortionModule(codec, loss, schedule, seed=cfg.seed, **cfg.optim)
    discriminator = Discriminator(cfg.model.M, cfg.adversarial.width).to(memory_format=torch.channels_last)
    return AdversarialModule(
        codec, discriminator, loss, schedule, beta=cfg.adversarial.beta, discriminator_lr=cfg.adversarial.discriminator_lr,
        accumulate=cfg.trainer.accumulate_grad_batches, seed=cfg.seed, **cfg.optim,
    )  # fmt: skip


def _trainer(**settings: Any) -> lightning.Trainer:
    """Lightning's trainer; what it has against the settings is the user's to mend."""
    try:
        return lightning.Trainer(**settings)
    except (MisconfigurationException, ValueError) as error:
        given = " ".join(f"trainer.{key}={settings[key]}" for key in ("accelerator", "devices", "num_nodes"))
        raise UserError(f"{given}: {error}; expected devices that this machine has; set these keys") from error


def train(cfg: DictConfig, folder: RunFolder) -> CodecModule:
    """Fit the codec of `cfg`, from where the folder's last checkpoint left it."""
    settings = dict(cfg.trainer)
    data = instantiate(cfg.data)
    if cfg.adversarial is not None:
        # With manual optimisation Lightning accumulates nothing: its batch has the parts of a step, which the module takes.
        parts, settings["accumulate_grad_batches"] = settings["accumulate_grad_batches"], 1
        data = instantiate(cfg.data, batch_size=cfg.data.batch_size * parts)
    resumes = folder.last_checkpoint.exists()
    module = _build_module(cfg, data, folder, resumes)
    callbacks: list[lightning.Callback] = [
        ShowProgress(data.batch_size),
        SaveReconstructions(folder.report / "reconstructions"),
        SaveCheckpoints(folder.checkpoints, cfg.save_every),
    ]
    if cfg.ema is not None:
        callbacks.append(EMAWeightAveraging(decay=cfg.ema, use_buffers=False))
    if settings["strategy"] == "auto" and settings["devices"] not in (1, "1"):
        # Its buffers are constants, and ranks with unlike numbers of validation pictures would wait for each other.
        settings["strategy"] = DDPStrategy(broadcast_buffers=False)
    trainer = _trainer(
        **settings,
        precision=choose_precision(cfg.precision, cfg.trainer.accelerator),  # type: ignore[arg-type]
        max_steps=cfg.steps,
        max_epochs=-1,
        log_every_n_steps=cfg.log_every,
        val_check_interval=cfg.val_every * settings["accumulate_grad_batches"],  # Lightning counts micro-batches
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # the batch sampler shards by rank itself
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        logger=make_loggers(cfg.logger, folder, OmegaConf.to_container(cfg)),  # type: ignore[arg-type]
        callbacks=callbacks,
        default_root_dir=folder.path,
    )
    if isinstance(trainer.accelerator, CPUAccelerator):
        keep_freed_memory()
    folder.checkpoints.mkdir(parents=True, exist_ok=True)
    trainer.fit(module, data, ckpt_path=folder.last_checkpoint if resumes else None)
    return module


def _warm_up(cfg: DictConfig) -> Path:
    """The directory of the run that cfg.warmup asks for: finished before, or now."""
    given = []
    for override in HydraConfig.get().overrides.task:
        key = override.partition("=")[0].lstrip("+~")
        if key == "warmup.steps":
            given.append(override.removeprefix("warmup."))
        elif key != "data.batch_size" and key.split(".")[0] not in OF_SECOND_STAGE:
            given.append(override)
    path = Path(os.environ.get("CODEC_RUNS", "runs")) / cfg.warmup.experiment / run_name(given)
    if cfg.trainer.devices not in (1, "1") and not RunFolder(path).finished:
        raise UserError(
            f"both stages with trainer.devices={cfg.trainer.devices}; each further rank would start the command again; "
            f"expected one device, or a finished run at {path}; start experiment={cfg.warmup.experiment} first"
        )
    print(f"first stage: {path}")
    with_path = ["experiment=" + cfg.warmup.experiment, *given, f"run_dir='{path}'"]
    _run(compose("train", with_path), RunFolder(path))
    return path


def _run(cfg: DictConfig, folder: RunFolder) -> None:
    """One run: train, export, measure, report; what is done already is not done again."""
    measurement = _check(cfg)
    dataset = measurement.test_set.name
    if cfg.warmup is not None and cfg.init_from is None and not folder.finished:
        cfg.init_from = str(_warm_up(cfg))
    asked: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
    del asked["run_dir"]
    cfg = OmegaConf.create(asked)  # without interpolations from here on
    if is_first_rank():
        folder.claim(asked)
    if folder.finished:
        print(f"{folder.path} is finished: nothing to train")
        _show(folder, dataset, cfg.test.baselines)
        return
    if not folder.bundle.exists():
        module = train(cfg, folder)
        if not is_first_rank():
            return
        # No paths: a bundle travels.
        told = ("experiment_name", "model", "steps", "seed", "target_bpp")
        facts: dict[str, Any] = {"config": {key: asked[key] for key in told}}
        if module.loss.perceptual is not None:
            facts["trained_with"] = module.loss.perceptual.name
        save_bundle(folder.bundle, module.codec, facts, half=True)
    results = measure_and_report(folder.bundle, measurement, folder.results, folder.report)
    if cfg.target_bpp is not None:
        print(f"rate     {results.points[0].mean('file_bpp'):.3f} bpp on {dataset}, target {cfg.target_bpp} in training")
        write_rate_plot(folder.metrics_file, folder.report / "rate.png")
        print(f"steering {folder.report / 'rate.png'}")
    folder.update_facts(finished=True)
    print(f"codec    {folder.bundle}\nlog      {folder.metrics_file}")


def _show(folder: RunFolder, dataset: str, baselines: Sequence[str]) -> None:
    """Print what a finished run measured."""
    ours = Results.read(folder.results / f"{dataset}.json")
    others = [Results.read(folder.results / f"{dataset}_{name}.json") for name in baselines]
    print_table(ours, others, console)
    print(f"report   {folder.report}")


class SweepReport(Callback):
    """Hydra's callback behind a sweep: one rate-distortion plot over its points."""

    def __init__(self) -> None:
        self._points: list[tuple[RunFolder, str, list[str]]] = []

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Note where the point lies, if it came to an end."""
        folder = RunFolder(Path(job_return.hydra_cfg.hydra.runtime.output_dir))  # type: ignore[union-attr]
        if folder.finished:
            self._points.append((folder, load_test_set(config.test).name, list(config.test.baselines)))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Plot all points that came to an end, beside the classical codecs."""
        if not self._points:
            return
        first, dataset, baselines = self._points[0]
        folders = [folder.path for folder, name, _ in self._points if name == dataset]
        ours = [Results.read(RunFolder(path).results / f"{dataset}.json") for path in folders]
        others = [Results.read(first.results / f"{dataset}_{name}.json") for name in baselines]
        above = Path(os.path.commonpath([path.parent for path in folders]))
        names = [str(path.relative_to(above)) for path in folders]  # a folder is named after what its point was asked for
        plot = above / f"sweep_{hashlib.sha256(' '.join(sorted(names)).encode()).hexdigest()[:8]}.png"
        write_rd_plot(ours, others, plot)
        for result, name in sorted(zip(ours, names, strict=True), key=lambda pair: pair[0].curve()):
            for bpp, quality in result.curve():
                print(f"{name}: {quality:.2f} dB at {bpp:.3f} bpp")
        print_savings(ours, others, console)
        print(f"plot over {len(ours)} points: {plot}")


@contextmanager
def _started_as(command: str) -> Iterator[None]:
    """sys.argv as the user gave it, which is how Lightning starts further ranks; Hydra wants it without the command."""
    sys.argv.insert(1, command)
    try:
        yield
    finally:
        del sys.argv[1]


_mistakes: list[UserError] = []


def _check_ranks(cfg: DictConfig) -> None:
    if HydraConfig.get().mode == RunMode.MULTIRUN and cfg.trainer.devices not in (1, "1"):
        raise UserError(
            f"-m with trainer.devices={cfg.trainer.devices}; each further rank would start the sweep again; expected one "
            "device a point; start the points one by one"
        )
    check_tasks(cfg.trainer.devices, cfg.trainer.num_nodes)


@hydra.main(config_path="pkg://conf", config_name="train", version_base="1.3")
def _main(cfg: DictConfig) -> None:
    with _started_as("train"):
        try:
            _check_ranks(cfg)
            _run(cfg, RunFolder(Path(HydraConfig.get().runtime.output_dir)))
        except Exception as error:  # a user's mistake ends this point of a sweep, not the sweep
            mistake = UserError.behind(error)
            if mistake is None:
                raise
            _mistakes.append(mistake)


def run(overrides: Sequence[str]) -> int:
    """The command; overrides are Hydra's, `-m` included."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # an exception comes through, and codec.cli says it in one line
    _mistakes.clear()
    before, sys.argv = sys.argv, [sys.argv[0], *overrides]
    try:
        _main()
    finally:
        sys.argv = before
    if len(_mistakes) > 1:
        raise UserError(f"{len(_mistakes)} points of the sweep failed: {' | '.join(sorted({str(m) for m in _mistakes}))}")
    if _mistakes:
        raise _mistakes[0]
    return 0
