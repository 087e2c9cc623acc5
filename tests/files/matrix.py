"""Files that are written once and read under everything that used to matter: python tests/files/matrix.py write|all FOLDER.

A long run, by hand; its fast part is tests/files/test_exact_files.py. `write` codes pictures with each codec into FOLDER, whose
CRC-32 of latents stand in written.json. `read` decodes them all in this process and prints one line of JSON; `all` starts one
process for each of CONDITIONS, and one for each other interpreter, with another torch. PYTHONPATH has to name the repository.
"""

import argparse
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

CONDITIONS: dict[str, tuple[list[str], dict[str, str]]] = {
    "2 threads": (["--threads", "2"], {}),
    "1 thread": (["--threads", "1"], {}),
    "4 threads": (["--threads", "4"], {}),
    "contiguous": (["--layout", "contiguous"], {}),
    "batch of 8": (["--batch", "8"], {}),
    "without oneDNN": (["--no-onednn"], {}),
    "ONEDNN_MAX_CPU_ISA=AVX2": ([], {"ONEDNN_MAX_CPU_ISA": "AVX2"}),
    "ONEDNN_MAX_CPU_ISA=SSE41": (["--threads", "1"], {"ONEDNN_MAX_CPU_ISA": "SSE41"}),
    "ATEN_CPU_CAPABILITY=default": ([], {"ATEN_CPU_CAPABILITY": "default"}),
    "compiled": (["--compile"], {}),
}


def crc_of(latents: object, number: int) -> int:
    """Of y_hat and the prototypes of one picture, bit for bit."""
    one = latents.of(number)  # type: ignore[attr-defined]
    tensors = [one.y_hat] + ([] if one.prototypes is None else [one.prototypes])
    crc = 0
    for tensor in tensors:
        crc = zlib.crc32(tensor.contiguous().numpy().tobytes(), crc)
    return crc


def codecs(folder: Path, trained: list[str], num_pictures: int) -> dict[str, tuple[Path, int]]:
    """Bundles by name, each with the number of pictures that it codes: shipped, at published widths, trained."""
    import torch
    from conftest import live_codec, live_slices, picture

    from codec.files.bundle import SHIPPED, save_bundle
    from codec.models import build_model

    def hific() -> torch.nn.Module:
        """Its synthesis is short: it has no part in latents."""
        model = build_model("hific", N=320, M=220, C=60, num_blocks=2).eval()
        with torch.no_grad():
            model.g_a[-1].weight.mul_(4 / model.g_a(picture(256, 256)[None] / 255).std())
            model.h_a[-1].weight.mul_(3 / model.hyper_analysis(model.g_a(picture(256, 256)[None] / 255)).std())
            model.h_scale_s[-1].bias.uniform_(1, 3)
            model.h_mean_s[-1].weight.mul_(3)
        return model

    found = {"shipped": (SHIPPED, 24)}
    made = {
        "factorized": lambda: live_codec("factorized", N=128, M=192),
        "hyperprior": lambda: live_codec("hyperprior", N=128, M=192),
        "wacnn": lambda: live_slices("wacnn", N=192, M=320),
        "segpic": lambda: live_slices("segpic", N=192, M=320),
        "hific": hific,
    }
    for name, make in made.items():
        torch.manual_seed(0)
        path = folder / f"{name}.safetensors"
        if not path.exists():
            save_bundle(path, make(), {}, half=False)
        found[name] = path, num_pictures
    return found | {f"trained {Path(path).parent.name}": (Path(path), num_pictures) for path in trained}


def write(folder: Path, kodak: Path, trained: list[str], num_pictures: int) -> None:
    from codec.files.bundle import load_bundle
    from codec.files.coding import encode
    from data.folders import list_images
    from data.images import read_image

    written = {}
    for name, (path, number) in codecs(folder, trained, num_pictures).items():
        bundle = load_bundle(path)
        (folder / name).mkdir(exist_ok=True)
        bits = pixels = 0
        crcs = {}
        sources = list_images(kodak)[:number]
        levels = [None] if bundle.model.levels is None else range(bundle.model.levels.count)
        for place in range(max(len(sources), len(levels))):  # each picture, and each level
            source, level = sources[place % len(sources)], levels[place % len(levels)]
            image, stem = read_image(source), source.stem if level is None else f"{source.stem}_at_{level}"
            encoded = encode(bundle, image, level=level)
            (folder / name / f"{stem}.lic").write_bytes(encoded.file)
            crcs[stem] = crc_of(encoded.latents, 0)
            bits, pixels = bits + 8 * len(encoded.file), pixels + image[0].numel()
        written[name] = {"bundle": str(path), "crcs": crcs, "bpp": bits / pixels}
        print(f"{name}: {len(crcs)} pictures, {bits / pixels:.2f} bpp", flush=True)
    (folder / "written.json").write_text(json.dumps(written))


def read(folder: Path, layout: str, onednn: bool, batch: int, compiled: bool) -> None:
    import torch

    from codec.files.bundle import load_bundle
    from codec.files.coding import decode_batch
    from codec.files.container import read_container
    from codec.types import UserError

    memory_format = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}[layout]
    failed, count = {}, 0
    with torch.backends.mkldnn.flags(enabled=onednn):
        for name, what in json.loads((folder / "written.json").read_text()).items():
            bundle = load_bundle(Path(what["bundle"]))
            bundle.model.to(memory_format=memory_format)
            if compiled:
                for network in bundle.model.entropy_networks():
                    network.compile()
            crcs = what["crcs"]
            files = {stem: (folder / name / f"{stem}.lic").read_bytes() for stem in crcs}
            alike: dict[object, list[str]] = {}
            for stem, data in files.items():
                alike.setdefault(read_container(data).shape, []).append(stem)
            for stems in alike.values():
                for first in range(0, len(stems), batch):
                    group = stems[first : first + batch]
                    count += len(group)
                    try:
                        latents, *_ = decode_batch(bundle, [files[stem] for stem in group])
                        wrong = sum(crc_of(latents, i) != crcs[stem] for i, stem in enumerate(group))
                    except UserError:
                        wrong = len(group)
                    failed[name] = failed.get(name, 0) + wrong
    threads, version = torch.get_num_threads(), torch.__version__
    print(json.dumps({"failed": failed, "of": count, "threads": threads, "torch": version}), flush=True)


def read_under_all(folder: Path, pythons: list[str]) -> None:
    """One process for each condition."""
    runs = {name: (sys.executable, words, variables) for name, (words, variables) in CONDITIONS.items()}
    runs |= {f"by {python}": (python, [], {}) for python in pythons}
    for name, (python, words, variables) in runs.items():
        command = [python, __file__, "read", str(folder), *words]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | variables)
        print(f"{name}: {done.stdout.strip() or done.stderr[-500:]}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["write", "read", "all"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kodak", type=Path)
    parser.add_argument("--trained", nargs="*", default=[], help="bundles of trained runs")
    parser.add_argument("--pictures", type=int, default=4, help="of each codec but the shipped one, which codes all")
    parser.add_argument("--python", nargs="*", default=[], help="other interpreters, with another torch")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--layout", default="channels_last")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--no-onednn", action="store_true")
    parser.add_argument("--compile", action="store_true")
    asked = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parents[1]))
    if asked.what == "all":
        read_under_all(asked.folder, asked.python)
        return
    import torch

    if asked.threads:
        torch.set_num_threads(asked.threads)
    if asked.what == "write":
        asked.folder.mkdir(parents=True, exist_ok=True)
        write(asked.folder, asked.kodak, asked.trained, asked.pictures)
    else:
        read(asked.folder, asked.layout, not asked.no_onednn, asked.batch, asked.compile)


if __name__ == "__main__":
    main()
