"""The state of a warm-up on disk as safetensors and JSON: the weights that learn, AdamW's moments, the step.

Prompts and dropout of a step are drawn from the seed and the step alone, so there is no generator to keep. A checkpoint
is written beside its place and renamed, so a kill leaves the one before. Nothing is pickled.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from policies.checkpoints import PREFIX, latest_checkpoint, steps_of
from policies.warmup_model import learning_weights
from selector.errors import ArtifactError
from selector.learned.tensors import save_tensors

WEIGHTS_FILE, OPTIMIZER_FILE = "weights.safetensors", "optimizer.safetensors"


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
    place = folder / f"{PREFIX}{steps:09d}"
    scratch = folder / f".{place.name}"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    save_tensors(scratch / WEIGHTS_FILE, {name: weights.detach() for name, weights in learning_weights(model)})
    state = optimizer.state_dict()["state"]
    flat = {f"{number}.{name}": tensor for number, own in state.items() for name, tensor in own.items()}
    save_tensors(scratch / OPTIMIZER_FILE, flat)
    shutil.rmtree(place, ignore_errors=True)
    scratch.rename(place)
    for older in sorted(folder.glob(f"{PREFIX}*"))[:-1]:
        shutil.rmtree(older)


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
    try:
        weights, flat = load_file(place / WEIGHTS_FILE), load_file(place / OPTIMIZER_FILE)
        with torch.no_grad():
            for name, own in learning_weights(model):
                own.copy_(weights[name])
    except (OSError, KeyError, RuntimeError, SafetensorError) as error:
        raise ArtifactError(
            f"checkpoint {place} is damaged ({(str(error) or type(error).__name__).splitlines()[0]})",
            expected="a checkpoint written by warm-up with the same model",
            remedy="Delete it, or start afresh with --no-resume.",
        ) from error
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in flat.items():
        number, _, name = key.partition(".")
        moments.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    return steps_of(place)
