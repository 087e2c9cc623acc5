"""Pictures of any size: the same files in the memory that is allowed, and a refusal before any is taken."""

import math
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from conftest import ALL_NAMES, MODEL_NAMES, picture
from PIL import Image

from codec.files import memory
from codec.files.bundle import load_bundle
from codec.files.coding import analysed, decode_latents, encode, reconstruct
from codec.files.container import read_container
from codec.files.limits import padded_pixels
from codec.files.loaded import CPU
from codec.files.memory import Memory, allowed_memory, holding, memory_for_networks
from codec.layers.strips import Strips
from codec.types import UserError, read_size

pytestmark = pytest.mark.usefixtures("on_one_thread")


@pytest.fixture(scope="module")
def bundles(live_bundles):
    return {name: load_bundle(path) for name, path in live_bundles.items()}


def in_least_memory(bundle, height, width):
    """The bundle with as little memory as such a picture can be coded in."""
    high, wide = (side * bundle.model.latent_stride for side in bundle.model.latent_size(height, width))
    return replace(bundle, memory=Memory(bundle.needs.least(1, high, wide), 0, asked=True))


@pytest.fixture
def cuts(monkeypatch):
    """Into how many strips each function was cut."""
    numbers = []
    parts = Strips.parts

    def counted(self, strips, *maps, **others):
        numbers.append(len(strips))
        return parts(self, strips, *maps, **others)

    monkeypatch.setattr(Strips, "parts", counted)
    return numbers


@pytest.mark.parametrize("name", ALL_NAMES)
@pytest.mark.parametrize("height, width", [(700, 90), (70, 1000)])
def test_the_file_of_strips_is_the_file_of_the_whole(bundles, cuts, name, height, width):
    """But for float rounding, of which a symbol may turn where a network's floats depend on sizes."""
    bundle, image = bundles[name], picture(height, width)
    small = in_least_memory(bundle, height, width)
    whole = encode(bundle, image)
    assert max(cuts) == 1
    cuts.clear()
    strips = encode(small, image)
    assert max(cuts) > 3
    if name in MODEL_NAMES:
        assert strips.y.equal(whole.y) and strips.file == whole.file
    else:
        assert (strips.y - whole.y).abs().max() < 1e-5 * whole.y.std()
        assert abs(len(strips.file) - len(whole.file)) <= 0.01 * len(whole.file)
        turned = strips.latents.y_hat != whole.latents.y_hat
        assert read_container(strips.file).symbols_crc == read_container(whole.file).symbols_crc or turned.float().mean() < 0.1


@pytest.mark.parametrize("name", ALL_NAMES)
@pytest.mark.parametrize("height, width", [(700, 90), (70, 1000)])
def test_a_file_decodes_to_the_same_latents_in_strips_and_to_the_same_picture_but_for_rounding(bundles, name, height, width):
    bundle, image = bundles[name], picture(height, width)
    small, whole = in_least_memory(bundle, height, width), encode(bundle, image)
    latents, *size = decode_latents(small, whole.file)
    assert latents.equal(whole.latents) and size == [height, width]
    pictures = [reconstruct(codec, latents, height, width).int() for codec in (small, bundle)]
    assert pictures[0].shape == (3, height, width)
    assert (pictures[0] - pictures[1]).abs().max() <= 1 and (pictures[0] != pictures[1]).float().mean() < 1e-3


@pytest.mark.parametrize("name", ALL_NAMES)
def test_memory_that_is_told_for_networks_grows_with_the_picture_and_what_is_least_more_slowly(bundles, name):
    needs = bundles[name].needs
    assert 3 < needs.kept < 200
    square, four = needs.least(1, 4096, 4096), needs.least(1, 8192, 8192)
    assert 2 < four / square <= 4.01
    assert needs.least(2, 4096, 4096) == pytest.approx(2 * square)
    assert needs.least(1, 65536, 256) < square


def test_a_picture_that_memory_does_not_hold_is_refused_before_it_is_coded(bundles, monkeypatch):
    bundle = bundles["hyperprior"]
    monkeypatch.setattr(memory, "free_memory", lambda device: 2**20)
    with pytest.raises(UserError, match="GiB are free"):
        encode(bundle, torch.zeros(1, dtype=torch.uint8).expand(3, 1024, 1025))
    encode(bundle, picture(8, 8))  # for which there is enough, whatever it takes


def test_what_is_allowed_is_told_in_what_the_user_may_say(bundles):
    limited = replace(bundles["mean_scale"], memory=Memory(2**21, 2**20, asked=True))
    with pytest.raises(UserError, match=r"a picture of 1000x1000 takes .* at least, and .* allowed; say --max-memory \d+M"):
        memory_for_networks(limited, 1000, 1000)


def test_what_the_analysis_gave_counts_where_its_user_keeps_it_while_pictures_are_decoded(bundles):
    bundle = bundles["segpic"]
    least = math.ceil(bundle.needs.least(1, 1024, 1024))
    enough = replace(bundle, memory=Memory(least, 0, asked=True))
    y = torch.empty(1, 24, 256, 256)
    memory_for_networks(enough, 1024, 1024)
    with holding(y), pytest.raises(UserError, match="at least"):
        memory_for_networks(enough, 1024, 1024)
    with pytest.raises(UserError, match="at least"):
        memory_for_networks(enough, 1024, 1024, keeping=1)
    both = replace(bundle, memory=Memory(least + y.nbytes, 0, asked=True))
    memory_for_networks(both, 1024, 1024, keeping=1)
    with holding(y):
        memory_for_networks(both, 1024, 1024)


@pytest.mark.parametrize("name", ALL_NAMES)
def test_what_the_analysis_will_give_is_known_before(bundles, name):
    bundle = bundles[name]
    for size in ((70, 90), (1, 300)):
        y = analysed(bundle, picture(*size)[None]).y
        assert bundle.needs.analysed * padded_pixels(bundle.model, *size) == y.untyped_storage().nbytes()


def test_what_a_process_has_already_counts():
    asked = allowed_memory(2**40, CPU)
    assert asked is not None and asked.limit == 2**40 and asked.taken >= 0
    assert asked.share(2).limit - asked.taken == (2**40 - asked.taken) / 2
    default = allowed_memory(None, CPU)
    assert default is None or (not default.asked and default.limit > default.taken)


@pytest.mark.parametrize(
    "text, size", [("3G", 3 * 2**30), ("800M", 800 * 2**20), ("1.5GiB", 3 * 2**29), ("2kb", 2048), ("17", 17), (17, 17)]
)
def test_amounts_of_memory(text, size):
    assert read_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "G", "-1G", "3X", "1e9", "3 G G", "9" * 5000, True, None])
def test_what_is_no_amount_of_memory_is_one_line(text):
    with pytest.raises(UserError, match="such as 3G"):
        read_size(text)


def test_what_a_job_or_a_container_may_take_counts(tmp_path):
    """Of each control group the process is in; what it keeps of files does not count as taken."""
    job = tmp_path / "slurm" / "job_1"
    job.mkdir(parents=True)
    (job / "memory.max").write_text("5000\n")
    (job / "memory.stat").write_text("anon 1500\nfile 3000\ninactive_anon 7\n")
    (job.parent / "memory.max").write_text("max\n")
    (job.parent / "memory.stat").write_text("anon 9\n")
    (tmp_path / "memory.max").write_text("4000\n")
    (tmp_path / "memory.stat").write_text("anon 2500\n")
    (tmp_path / "own").write_text("1:name=systemd:/other\n0::/slurm/job_1\n")
    assert memory._left_by_groups(tmp_path, tmp_path / "own") == [3500, 1500]
    (tmp_path / "own").write_text("0::/\n")
    assert memory._left_by_groups(tmp_path, tmp_path / "own") == [1500]
    assert memory._left_by_groups(tmp_path, tmp_path / "none") == []
    free = memory.free_memory(CPU)
    assert free is None or 2**20 < free < 2**50


PEAK = """
import sys
from pathlib import Path
from codec.cli import main
status = main(sys.argv[1:])
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])  # getrusage's is at least the parent's
sys.exit(status)
"""


def peak_of(*words):
    """Bytes of memory that a command has at most."""
    done = subprocess.run([sys.executable, "-c", PEAK, *map(str, words)], capture_output=True, text=True, check=True)
    return 1024 * int(done.stdout.split()[-1])


FREED = """
import threading
import torch
from codec.machine import give_back_freed_memory, resident_bytes

def work():
    '''Large tensors with small ones between them that stay.'''
    large = []
    for _ in range(48):
        large.append(torch.ones(2**20))
        kept.append(torch.ones(2**14))

kept = []
torch.ones(2**22)  # whose freeing would let glibc keep blocks up to 32 MiB
give_back_freed_memory()
before = resident_bytes("VmRSS")
for _ in range(2):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    work()
print(resident_bytes("VmRSS") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the system tells no memory")
def test_what_any_thread_frees_goes_back_from_between_what_stays():
    done = subprocess.run([sys.executable, "-c", FREED], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 2**25


@pytest.mark.skipif(sys.platform != "linux", reason="the system tells no peak")
def test_a_command_takes_what_it_may_and_writes_what_it_writes_with_more(tmp_path):
    """By the peak that the system saw, of a picture that takes much more as a whole."""
    small, large = tmp_path / "small.png", tmp_path / "large.png"
    for path, side in ((small, 64), (large, 2048)):
        Image.fromarray(picture(side, side).permute(1, 2, 0).numpy()).save(path, compress_level=1)
    allowed = peak_of("compress", small, tmp_path / "small.lic") + 3 * 2**27
    whole, strips = tmp_path / "whole.lic", tmp_path / "strips.lic"
    assert peak_of("compress", large, whole) > allowed
    assert peak_of("compress", large, strips, f"--max-memory={allowed >> 20}M") <= allowed
    assert strips.read_bytes() == whole.read_bytes()
    assert peak_of("decompress", whole, tmp_path / "again.png", f"--max-memory={allowed >> 20}M") <= allowed
