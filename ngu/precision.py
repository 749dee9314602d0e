"""Which float type the heavy layers run in, and the context that makes them run in it.

bfloat16 keeps float32's range, so nothing needs loss scaling. Convolutions run twice as fast in it
on processors that multiply it natively; elsewhere it is emulated and slower, so float32 is used.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

Precision = Literal["auto", "bfloat16", "float32"]


def resolve_precision(precision: Precision | str, device: torch.device | str) -> torch.dtype:
    """Return the float type for the heavy layers on a device.

    Args:
        precision: ``"bfloat16"``, ``"float32"``, or ``"auto"``: bfloat16 where the device
            multiplies it natively (CUDA from compute capability 8.0; CPUs with AVX512-BF16 or
            AMX), else float32.
        device: The device that computes.

    Raises:
        ValueError: The precision is none of the three.
    """
    if precision == "bfloat16":
        return torch.bfloat16
    if precision == "float32":
        return torch.float32
    if precision != "auto":
        raise ValueError(f"precision must be 'auto', 'bfloat16' or 'float32', got {precision!r}")
    return torch.bfloat16 if _multiplies_bfloat16(torch.device(device)) else torch.float32


def autocast(device: torch.device | str, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Return the context in which a forward pass runs in ``dtype``; float32 needs none.

    Args:
        device: The device that computes.
        dtype: What `resolve_precision` returned.
    """
    if dtype == torch.float32:
        return nullcontext()
    # The cache of cast weights is shared by a thread's nested contexts and would hand stale casts
    # to weights that change in place.
    return torch.autocast(torch.device(device).type, dtype=dtype, cache_enabled=False)


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False
