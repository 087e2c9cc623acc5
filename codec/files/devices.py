"""Where a codec computes: on the CPU, or on an accelerator. What it writes decodes on any."""

from dataclasses import replace

import torch

from codec.files.bundle import check_exactness
from codec.files.loaded import CPU, Bundle
from codec.types import UserError

DEVICES = ("cpu", "cuda", "mps", "auto")


def chosen_device(name: str) -> torch.device:
    """The device of that name, of DEVICES; auto: the accelerator where there is one.

    Raises UserError for one that is not there.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next((other for other in ("cuda", "mps") if there[other]), "cpu")
    if name not in there:
        raise UserError(f"device {name}; expected one of {', '.join(DEVICES)}")
    if not there[name]:
        raise UserError(f"device {name}, which torch does not find here; expected one that is there; say auto, or cpu")
    return torch.device(name)


def device_name(device: torch.device) -> str:
    """What results call it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def on_device(bundle: Bundle, device: torch.device) -> Bundle:
    """The codec of a bundle on the CPU, moved to a device; its latent pass stays behind where that has no float64.

    Raises UserError where the device computes other scales and means than where the bundle was written.
    """
    if device == CPU:
        return bundle
    pass_device = CPU if device.type == "mps" else device
    bundle.model.place(device, pass_device)
    if pass_device != CPU:  # where it has been checked
        check_exactness(bundle.model, bundle.header["check"], f"the codec on {device}")
    return replace(bundle, device=device, pass_device=pass_device)
