"""The state of a warm-up in a checkpoint: the weights that learn, AdamW's moments, the step.

Prompts and dropout of a step are drawn from the seed and the step alone, so there is no generator to keep.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from policies.checkpoint_folder import latest_checkpoint, load_moments, new_checkpoint, reading, save_moments, steps_of
from policies.warmup_model import learning_weights
from selector.learned.tensors import save_tensors

WEIGHTS_FILE = "weights.safetensors"


def save_state(folder: Path, model: Any, optimizer: torch.optim.Optimizer, *, steps: int) -> None:
    """Writes the state between two steps and deletes older ones.

    Args:
        folder: Where checkpoints of the run lie.
        model: The model in training.
        optimizer: Its optimizer.
        steps: How many steps were done.

    Raises:
        DiskFullError: When there is no room.
    """
    with new_checkpoint(folder, steps) as place:
        save_tensors(place / WEIGHTS_FILE, {name: weights.detach() for name, weights in learning_weights(model)})
        save_moments(place, optimizer)


def restore_state(folder: Path, model: Any, optimizer: torch.optim.Optimizer) -> int:
    """Puts a freshly made model and optimizer into the newest state on disk.

    Args:
        folder: Where checkpoints of the run lie.
        model: The model; changed in place.
        optimizer: Its optimizer; changed in place.

    Returns:
        How many steps were done; 0 without a checkpoint.

    Raises:
        ArtifactError: When the checkpoint is damaged or of another model.
    """
    place = latest_checkpoint(folder)
    if place is None:
        return 0
    with reading(place, of="warm-up"):
        weights = load_file(place / WEIGHTS_FILE)
        with torch.no_grad():
            for name, own in learning_weights(model):
                own.copy_(weights[name])
        load_moments(place, optimizer)
    return steps_of(place)
