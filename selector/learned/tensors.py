"""Tensors to files as safetensors, with a full disk named. Knows nothing of what the tensors mean."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from selector.data.paths import full_disk_named


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes named tensors.

    Args:
        path: The file.
        tensors: Name to tensor.

    Raises:
        DiskFullError: When there is no room.
    """
    from safetensors.torch import save_file

    with full_disk_named(path):
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
