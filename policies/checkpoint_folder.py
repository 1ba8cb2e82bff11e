"""Checkpoints of any training: folders named by their step, whole or not there at all, and an optimizer's moments.

A checkpoint is written beside its place and renamed, so a kill leaves the one before. It is safetensors and JSON;
nothing is pickled. What else a learner keeps is its own business.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from selector.data.paths import full_disk_named
from selector.errors import ArtifactError
from selector.learned.tensors import save_tensors

PREFIX = "step-"
STATE_FILE, OPTIMIZER_FILE = "state.json", "optimizer.safetensors"


@contextmanager
def new_checkpoint(folder: Path, steps: int) -> Iterator[Path]:
    """Makes a checkpoint out of what is written inside, and deletes older ones.

    Args:
        folder: Where checkpoints of the run lie.
        steps: After how many steps it is taken.

    Yields:
        An empty folder to write into.

    Raises:
        DiskFullError: When there is no room; the checkpoint before stays.
    """
    place = folder / f"{PREFIX}{steps:09d}"
    scratch = folder / f".{place.name}"
    shutil.rmtree(scratch, ignore_errors=True)
    with full_disk_named(place):
        scratch.mkdir(parents=True)
        yield scratch
    shutil.rmtree(place, ignore_errors=True)
    scratch.rename(place)
    for older in sorted(folder.glob(f"{PREFIX}*"))[:-1]:
        shutil.rmtree(older)


def latest_checkpoint(folder: Path) -> Path | None:
    """Finds the newest checkpoint.

    Args:
        folder: Where checkpoints of the run lie.

    Returns:
        Its folder, or None when there is none.
    """
    return max(folder.glob(f"{PREFIX}*"), default=None)


def steps_of(place: Path) -> int:
    """Tells how many steps a checkpoint was taken after.

    Args:
        place: The checkpoint.

    Returns:
        The steps.
    """
    return int(place.name.removeprefix(PREFIX))


def extra_of(place: Path) -> dict[str, Any]:
    """Reads what else a checkpoint of a policy keeps.

    Args:
        place: The checkpoint.

    Returns:
        What was kept as `extra`.

    Raises:
        ArtifactError: When the checkpoint is damaged.
    """
    with reading(place):
        extra: dict[str, Any] = json.loads((place / STATE_FILE).read_text(encoding="utf-8"))["extra"]
    return extra


def has_ended(place: Path | None, *, total_steps: int, patience: int | None) -> bool:
    """Tells whether a run is done: all steps, or as long without a better evaluation as it was to wait.

    Args:
        place: Its newest checkpoint, if any; its `extra` counts the evaluations "since_best".
        total_steps: Of the run.
        patience: Evaluations without a better one; None waits for ever.

    Returns:
        Whether it is.

    Raises:
        ArtifactError: When the checkpoint is damaged.
    """
    return place is not None and (steps_of(place) >= total_steps or patience_ended(patience, extra_of(place)))


def patience_ended(patience: int | None, extra: Mapping[str, Any]) -> bool:
    """Tells whether a run has waited for a better evaluation for as long as it was to.

    Args:
        patience: Evaluations without a better one; None waits for ever.
        extra: What a checkpoint keeps; "since_best" counts the evaluations since the best one.

    Returns:
        Whether it has.
    """
    return patience is not None and bool(extra["since_best"] >= patience)


@contextmanager
def reading(place: Path, *, of: str = "train-policy") -> Iterator[None]:
    """Names what is wrong with a checkpoint that is read inside.

    Args:
        place: The checkpoint.
        of: What wrote it.

    Yields:
        Nothing.

    Raises:
        ArtifactError: When the checkpoint is damaged.
    """
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ArtifactError(
            f"checkpoint {place} is damaged ({(str(error) or type(error).__name__).splitlines()[0]})",
            expected=f"a checkpoint written by {of} with the same settings",
            remedy="Delete it, or start afresh with --no-resume.",
        ) from error


def save_moments(place: Path, optimizer: torch.optim.Optimizer) -> None:
    """Writes what an optimizer remembers of each weight.

    Args:
        place: The checkpoint.
        optimizer: The optimizer.
    """
    moments = optimizer.state_dict()["state"]
    flat = {f"{number}.{name}": tensor for number, own in moments.items() for name, tensor in own.items()}
    save_tensors(place / OPTIMIZER_FILE, flat)


def load_moments(place: Path, optimizer: torch.optim.Optimizer) -> None:
    """Puts back what `save_moments` has written.

    Args:
        place: The checkpoint.
        optimizer: An optimizer of the same weights; changed in place.
    """
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in load_file(place / OPTIMIZER_FILE).items():
        number, _, name = key.partition(".")
        moments.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
