"""Training state on disk as safetensors and JSON: weights, optimizer, random generators, environment, counters.

A checkpoint is written beside its place and renamed, so a kill leaves the one before. From a checkpoint training goes
on exactly as if it had not stopped. Nothing is pickled.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from sb3_contrib import MaskablePPO

from envs.dynamics import Episode
from policies.vectorised import MaskedVecEnv
from selector.errors import ArtifactError
from selector.learned.tensors import save_tensors

PREFIX = "step-"


def save_checkpoint(folder: Path, model: MaskablePPO, *, extra: dict[str, Any]) -> None:
    """Writes the state between two rollouts and deletes older checkpoints.

    Args:
        folder: Where checkpoints of the run lie.
        model: The learner; its environment is a `MaskedVecEnv`.
        extra: What else to keep; what JSON can write.
    """
    place = folder / f"{PREFIX}{model.num_timesteps:09d}"
    scratch = folder / f".{place.name}"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    save_tensors(scratch / "policy.safetensors", model.policy.state_dict())
    optimizer = model.policy.optimizer.state_dict()["state"]
    flat = {f"{number}.{name}": tensor for number, state in optimizer.items() for name, tensor in state.items()}
    save_tensors(scratch / "optimizer.safetensors", flat)
    # stable-baselines3 shuffles minibatches with numpy's global generator, so its state belongs to the training state.
    numpy_state: Any = np.random.get_state()  # noqa: NPY002
    _, keys, position, has_gauss, cached = numpy_state
    generators = {"torch": torch.get_rng_state(), "numpy": torch.from_numpy(keys.astype(np.int64))}
    save_tensors(scratch / "generators.safetensors", generators)
    environment = cast(MaskedVecEnv, model.get_env())
    state = {
        "steps": model.num_timesteps,
        "updates": model._n_updates,
        "numpy": [int(position), int(has_gauss), float(cached)],
        "episodes": [asdict(episode) for episode in environment.copies.episodes],
        "queries": environment.copies.np_random.bit_generator.state,
        "episode_starts": [bool(start) for start in model._last_episode_starts],
        "extra": extra,
    }
    (scratch / "state.json").write_text(json.dumps(state), encoding="utf-8")
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
    """Tells how many environment steps a checkpoint was taken after.

    Args:
        place: The checkpoint.

    Returns:
        The steps.
    """
    return int(place.name.removeprefix(PREFIX))


def extra_of(place: Path) -> dict[str, Any]:
    """Reads what else a checkpoint keeps.

    Args:
        place: The checkpoint.

    Returns:
        What was kept as `extra`.

    Raises:
        ArtifactError: When the checkpoint is damaged.
    """
    try:
        extra: dict[str, Any] = json.loads((place / "state.json").read_text(encoding="utf-8"))["extra"]
    except (OSError, ValueError, KeyError) as error:
        raise _damaged(place, error) from error
    return extra


def patience_ended(patience: int | None, extra: Mapping[str, Any]) -> bool:
    """Tells whether a run has waited for a better evaluation for as long as it was to.

    Args:
        patience: Evaluations without a better one; None waits for ever.
        extra: What a checkpoint keeps; "since_best" counts the evaluations since the best one.

    Returns:
        Whether it has.
    """
    return patience is not None and bool(extra["since_best"] >= patience)


def restore_checkpoint(place: Path, model: MaskablePPO) -> dict[str, Any]:
    """Puts a freshly made learner into the state of a checkpoint.

    Args:
        place: The checkpoint.
        model: A learner of the same configuration, whose environment has been reset.

    Returns:
        What was kept as `extra`.

    Raises:
        ArtifactError: When the checkpoint is damaged.
    """
    try:
        state = json.loads((place / "state.json").read_text(encoding="utf-8"))
        model.policy.load_state_dict(load_file(place / "policy.safetensors"))
        flat = load_file(place / "optimizer.safetensors")
        generators = load_file(place / "generators.safetensors")
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise _damaged(place, error) from error
    optimizer = model.policy.optimizer
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in flat.items():
        number, _, name = key.partition(".")
        moments.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    torch.set_rng_state(generators["torch"])
    position, has_gauss, cached = state["numpy"]
    keys = generators["numpy"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, position, has_gauss, cached))  # noqa: NPY002
    environment = cast(MaskedVecEnv, model.get_env())
    episodes = [Episode(entry["query"], tuple(entry["chosen"]), entry["potential"]) for entry in state["episodes"]]
    environment.copies.restore(episodes, state["queries"])
    model.num_timesteps = state["steps"]
    model._n_updates = state["updates"]
    model._last_obs = environment.copies.observations()
    model._last_episode_starts = np.array(state["episode_starts"])
    extra: dict[str, Any] = state["extra"]
    return extra


def _damaged(place: Path, error: Exception) -> ArtifactError:
    return ArtifactError(
        f"checkpoint {place} is damaged ({str(error).splitlines()[0]})",
        expected="a checkpoint written by train-policy",
        remedy="Delete it, or start afresh with --no-resume.",
    )
