"""The state of masked PPO in a checkpoint: weights, optimizer, random generators, environment, counters.

From a checkpoint training goes on exactly as if it had not stopped.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors.torch import load_file
from sb3_contrib import MaskablePPO

from envs.dynamics import Episode
from policies.checkpoint_folder import STATE_FILE, load_moments, new_checkpoint, reading, save_moments
from policies.vectorised import MaskedVecEnv
from selector.learned.tensors import save_tensors


def save_checkpoint(folder: Path, model: MaskablePPO, *, extra: dict[str, Any]) -> None:
    """Writes the state between two rollouts and deletes older checkpoints.

    Args:
        folder: Where checkpoints of the run lie.
        model: The learner; its environment is a `MaskedVecEnv`.
        extra: What else to keep; what JSON can write.

    Raises:
        DiskFullError: When there is no room; the checkpoint before stays.
    """
    # stable-baselines3 shuffles minibatches with numpy's global generator, so its state belongs to the training state.
    numpy_state: Any = np.random.get_state()  # noqa: NPY002
    _, keys, position, has_gauss, cached = numpy_state
    generators = {"torch": torch.get_rng_state(), "numpy": torch.from_numpy(keys.astype(np.int64))}
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
    with new_checkpoint(folder, model.num_timesteps) as place:
        save_tensors(place / "policy.safetensors", model.policy.state_dict())
        save_moments(place, model.policy.optimizer)
        save_tensors(place / "generators.safetensors", generators)
        (place / STATE_FILE).write_text(json.dumps(state), encoding="utf-8")


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
    environment = cast(MaskedVecEnv, model.get_env())
    with reading(place):
        state = json.loads((place / STATE_FILE).read_text(encoding="utf-8"))
        model.policy.load_state_dict(load_file(place / "policy.safetensors"))
        load_moments(place, model.policy.optimizer)
        generators = load_file(place / "generators.safetensors")
        torch.set_rng_state(generators["torch"])
        position, has_gauss, cached = state["numpy"]
        keys = generators["numpy"].numpy().astype(np.uint32)
        np.random.set_state(("MT19937", keys, position, has_gauss, cached))  # noqa: NPY002
        episodes = [Episode(entry["query"], tuple(entry["chosen"]), entry["potential"]) for entry in state["episodes"]]
        environment.copies.restore(episodes, state["queries"])
        model.num_timesteps, model._n_updates = state["steps"], state["updates"]
        model._last_episode_starts = np.array(state["episode_starts"])
        extra: dict[str, Any] = state["extra"]
    model._last_obs = environment.copies.observations()
    return extra
