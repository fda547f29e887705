"""Where a network runs, and how: one code path for CPU and CUDA."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING

from config.errors import EncoderError

if TYPE_CHECKING:
    import torch


def choose_device(wanted: str) -> torch.device:
    """``auto`` takes CUDA where there is one; a CUDA device that is not there is an EncoderError."""
    import torch

    with warnings.catch_warnings():
        # A driver that is too old for this build only warns; then there is no CUDA to be had.
        warnings.simplefilter("ignore")
        present = torch.cuda.is_available()
        count = torch.cuda.device_count() if present else 0
    if wanted == "auto":
        return torch.device("cuda" if present else "cpu")
    device = torch.device(wanted)
    if device.type == "cuda" and (device.index or 0) >= count:
        raise EncoderError(f"encoders.device is {wanted!r}, but there are {count} CUDA devices; use auto or cpu")
    return device


def inference_pass(device: torch.device) -> AbstractContextManager[object]:
    """No gradients, and bf16 autocast on CUDA."""
    import torch

    stack = ExitStack()
    stack.enter_context(torch.inference_mode())
    if device.type == "cuda":
        stack.enter_context(torch.autocast("cuda", dtype=torch.bfloat16))
    return stack
