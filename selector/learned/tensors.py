"""Tensors to files as safetensors, with a full disk named. Knows nothing of what the tensors mean."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from selector.errors import DiskFullError


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes named tensors.

    Args:
        path: The file.
        tensors: Name to tensor.

    Raises:
        DiskFullError: When there is no room.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    except (SafetensorError, OSError) as error:
        # safetensors wraps what the system says into its own error, as text.
        if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error):
            raise DiskFullError(str(path)) from error
        raise
