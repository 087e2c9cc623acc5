"""What several tests need: live codecs, pictures, and the folder of real ones where there is one."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # set before torch is imported, and for processes that tests start: a core each
    os.environ["OMP_NUM_THREADS"] = "1"

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from codec.optim.optimizers import MuonAdam

REPOSITORY = Path(__file__).resolve().parents[1]
OPTIMIZERS = {"adam": partial(torch.optim.Adam, fused=True), "muon": MuonAdam, "sgd": torch.optim.SGD}
TINY = [
    "steps=4", "val_every=2", "save_every=2", "log_every=2", "model.N=8", "model.M=12", "data.crop=64", "data.batch_size=2",
    "data.sources.dead_leaves.num_pictures=2", "data.sources.dead_leaves.size=96", "schedule.warmup=1", "test.baselines=[jpeg]",
]  # fmt: skip
MODEL_NAMES = ["factorized", "hyperprior", "mean_scale"]
ALL_NAMES = [*MODEL_NAMES, "hific", "wacnn", "segpic"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where files run side by side, each by one process; first those that take longest."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(str(item.path)))
    items.sort(key=lambda item: item.path.parent.name != "slurm")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photographs and trained weights beside the repository (or $CODEC_SHARED); skips without it."""
    folder = Path(os.environ.get("CODEC_SHARED", REPOSITORY.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no folder of real pictures at {folder}: set CODEC_SHARED to test on them")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory):
    """No test reads what a user keeps, or adds to it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CODEC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def recipe(shared: Path) -> ModuleType:
    """Weights and pictures by formula, as the published models' outputs were made with."""
    spec = importlib.util.spec_from_file_location("recipe", shared / "reference" / "parity" / "recipe.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def codec(*words, cwd=None):
    """The command in a process of its own."""
    return subprocess.run([sys.executable, "-m", "codec", *words], capture_output=True, text=True, cwd=cwd or REPOSITORY)


def configured(*words: str, command: str = "train") -> DictConfig:
    """The configuration that a command's words ask for."""
    from codec.config.compose import composed, configurations

    with configurations():
        return composed(command, words)[0]


def picture(height: int, width: int, seed: int = 0) -> Tensor:
    """A picture with smooth parts, edges and noise, uint8 [3, height, width]."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(height) / 40, torch.arange(width) / 40, indexing="ij")
    waves = torch.stack([torch.sin((1 + c) * x + seed) * torch.cos((2 - c) * y) for c in range(3)])
    edges = (torch.sin(5 * x + 3 * y) > 0.7).float()
    noise = torch.randn((3, height, width), generator=generator)
    return (127 + 70 * waves + 40 * edges + 8 * noise).clamp(0, 255).to(torch.uint8)


@torch.no_grad()
def live_codec(name: str, fitting: bool = False, N: int = 8, M: int = 12, seed: int = 0) -> nn.Module:
    """A codec whose symbols matter: std(y) about 5, scales over the whole table, escapes; at fresh weights all are 0.

    fitting: scales that fit the latents instead, as after training, so that escapes are rare.
    """
    from codec.models import build_model

    torch.manual_seed(seed)
    codec = build_model(name, N=N, M=M).eval()
    x = picture(256, 256)[None].float() / 255
    last = codec.g_a[-1]
    gain = 5 / codec.g_a(x).std()
    last.weight.mul_(gain)
    last.bias.mul_(gain)
    codec.g_s[0].weight.mul_(2 / gain.sqrt())
    codec.g_s[-1].weight.mul_(0.3 / codec.g_s(codec.g_a(x)).std())
    if name != "factorized":
        codec.h_a[-1].weight.mul_(3 / codec.hyper_analysis(codec.g_a(x)).std())
        z = codec.hyper_analysis(codec.g_a(x)).round()
        head = [layer for layer in codec.h_s if isinstance(layer, nn.Conv2d)][-1]
        head.weight.mul_((1 if fitting else 20) / codec.h_s(z).std())
        head.bias.uniform_(9, 12) if fitting else head.bias.uniform_(-8, 8)
    for _, density in codec.densities():
        density.solve_quantiles()
    return codec


@torch.no_grad()
def live_slices(name: str, N: int = 24, M: int = 40, **options: bool) -> nn.Module:
    """WACNN or SegPIC at weights whose symbols matter, in streams of every kind."""
    from plain import value

    from codec.models import build_model

    codec = build_model(name, N=N, M=M, **options)
    for key, parameter in codec.named_parameters():
        parameter.copy_(value(key, tuple(parameter.shape)))
    for coder in [codec.p1, codec.p2] if name == "segpic" else []:
        coder.g_s[0].weight.mul_(0.25)  # else two inverse GDNs make thousands of them
        coder.g_s[-1].weight.mul_(0.1)
    for net in [codec.h_a, codec.p1.g_a, codec.p2.g_a] if name == "segpic" else [codec.h_a]:
        net[-1].weight.mul_(8)  # else z and the prototypes round to zeros
    return codec


@torch.no_grad()
def live_hific() -> nn.Module:
    """HiFiC's codec, tiny: latents of deviation 4, means and scales that vary."""
    from codec.models import build_model

    torch.manual_seed(0)
    codec = build_model("hific", N=8, M=6, C=4, num_blocks=2).eval()
    codec.g_a[-1].weight.mul_(4 / codec.g_a(picture(64, 64)[None] / 255).std())
    codec.h_scale_s[-1].bias.uniform_(1, 3)
    codec.h_mean_s[-1].weight.mul_(3)
    for _, density in codec.densities():
        density.solve_quantiles()
    return codec


def live_model(name: str) -> nn.Module:
    """Any of the six codecs, tiny, at weights whose symbols matter."""
    if name in MODEL_NAMES:
        return live_codec(name)
    return live_hific() if name == "hific" else live_slices(name)


@torch.no_grad()
def live_levels(name: str, count: int = 5) -> nn.Module:
    """The same with several rates, whose gains differ by channel."""
    codec = live_model(name)
    codec.add_levels(count)
    codec.levels.start([0.2, 4.0], 1.0)
    torch.manual_seed(0)
    codec.levels.log_gains.add_(0.2 * torch.randn_like(codec.levels.log_gains))
    return codec


@pytest.fixture(scope="session")
def live_bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A bundle of each of the six, by name."""
    from codec.files.bundle import save_bundle

    folder = tmp_path_factory.mktemp("live")
    with one_thread():
        for name in ALL_NAMES:
            save_bundle(folder / f"{name}.safetensors", live_model(name), {}, half=True)
    return {name: folder / f"{name}.safetensors" for name in ALL_NAMES}


@pytest.fixture(scope="session")
def levelled_bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same with five rates."""
    from codec.files.bundle import save_bundle

    folder = tmp_path_factory.mktemp("levelled")
    with one_thread():
        for name in ALL_NAMES:
            save_bundle(folder / f"{name}.safetensors", live_levels(name), {}, half=True)
    return {name: folder / f"{name}.safetensors" for name in ALL_NAMES}


@pytest.fixture
def on_one_thread() -> Iterator[None]:
    """The whole test; see one_thread."""
    with one_thread():
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """Layers of this size are slower on more threads where the cores have other work, up to ten times."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def import_published(kind: str, weights: dict[str, Tensor], folder: Path) -> Path:
    """The bundle that `codec import` makes of a whole training checkpoint, as its authors write it on several GPUs."""
    from codec.cli import main

    state = {f"module.{name}": value for name, value in weights.items()}
    torch.save({"epoch": 3, "loss": torch.tensor(1.0), "state_dict": state, "optimizer": {}}, folder / f"{kind}.pth.tar")
    bundle = folder / f"{kind}.safetensors"
    assert main(["import", kind, str(folder / f"{kind}.pth.tar"), "--out", str(bundle)]) == 0
    return bundle


DECODE = """
import sys, time, torch
from pathlib import Path
from codec.files.bundle import load_bundle
from codec.files.coding import decode_latents, reconstruct
folder = Path(sys.argv[1])
for name in sys.argv[2:]:
    bundle = load_bundle(folder / f"{name}.safetensors")
    for path in sorted((folder / name).glob("*.lic")):
        begun = time.perf_counter()
        latents, height, width = decode_latents(bundle, path.read_bytes())
        decoded = reconstruct(bundle, latents, height, width)
        seconds = time.perf_counter() - begun
        torch.save((latents.y_hat, latents.prototypes, decoded, seconds), path.with_suffix(".decoded"))
"""


def decode_in_another_process(folder: Path, names: Sequence[str], **variables: str) -> None:
    """Decode the files folder/NAME/*.lic by the bundles folder/NAME.safetensors, each to a .decoded beside it.

    That holds y_hat, the prototypes or None, the picture and the seconds that it took. variables: of its environment.
    """
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())} | variables
    done = subprocess.run([sys.executable, "-c", DECODE, folder, *names], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
