"""Conservative Q-learning from stored transitions, and its state on disk (Kumar et al., 2020; Zhang, Feng & Tan, 2022).

The loss is the absolute temporal difference to a target network, plus a term that keeps the values of actions which the
data do not show below those of actions which it does.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from policies.checkpoint_folder import STATE_FILE, load_moments, new_checkpoint, reading, save_moments
from policies.replay import Batch
from selector.learned.corpus_network import CorpusQNetwork
from selector.learned.tensors import save_tensors


class Losses(NamedTuple):
    """What one step measured.

    Attributes:
        difference: Mean absolute temporal difference, in the unit of the replay's rewards.
        conservative: Mean of log-sum-exp of all valid values less the value of what was chosen.
    """

    difference: float
    conservative: float


class ConservativeQLearner:
    """Learns values of actions; the network is in evaluation mode except inside a step.

    Args:
        network: The network to train.
        learning_rate: Of AdamW.
        weight_decay: Of AdamW.
        conservative: The weight of the conservative term.
        gradient_norm: The longest gradient.
        target_every: Steps between two copies to the target network.
    """

    def __init__(
        self,
        network: CorpusQNetwork,
        *,
        learning_rate: float,
        weight_decay: float,
        conservative: float,
        gradient_norm: float,
        target_every: int,
    ) -> None:
        self.network = network.eval()
        self.target = copy.deepcopy(network).eval()
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=weight_decay)
        self.steps = 0
        self._conservative = conservative
        self._gradient_norm = gradient_norm
        self._target_every = target_every

    def step(self, batch: Batch) -> Losses:
        """Takes one optimiser step.

        Args:
            batch: Transitions.

        Returns:
            The two parts of the loss.
        """
        difference, conservative = self._losses(batch)
        self.optimizer.zero_grad()
        loss = difference + self._conservative * conservative
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self._gradient_norm)
        self.optimizer.step()
        self.steps += 1
        if self.steps % self._target_every == 0:
            self.target.load_state_dict(self.network.state_dict())
        return Losses(float(difference.detach()), float(conservative.detach()))

    def _losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        self.network.train()
        values, _ = self.network(batch.before)  # (B, K + 1)
        self.network.eval()
        with torch.no_grad():
            best = self.target(batch.after)[1]
            wanted = batch.rewards + torch.where(batch.done > 0, 0.0, best)  # the discount is 1
        taken = values.gather(1, batch.actions[:, None]).squeeze(1)
        everything = values.masked_fill(batch.before["mask"] == 0, -torch.inf).logsumexp(dim=1)
        return (taken - wanted).abs().mean(), (everything - taken).mean()


def save_learner(
    folder: Path, learner: ConservativeQLearner, *, rng: np.random.Generator, extra: dict[str, Any]
) -> None:
    """Writes a checkpoint and deletes older ones.

    Args:
        folder: Where checkpoints of the run lie.
        learner: The learner.
        rng: What draws batches.
        extra: What else to keep; what JSON can write.

    Raises:
        DiskFullError: When there is no room.
    """
    state = {"steps": learner.steps, "batches": rng.bit_generator.state, "extra": extra}
    with new_checkpoint(folder, learner.steps) as place:
        save_tensors(place / "network.safetensors", learner.network.state_dict())
        save_tensors(place / "target.safetensors", learner.target.state_dict())
        save_moments(place, learner.optimizer)
        save_tensors(place / "generator.safetensors", {"torch": torch.get_rng_state()})
        (place / STATE_FILE).write_text(json.dumps(state), encoding="utf-8")


def restore_learner(place: Path, learner: ConservativeQLearner, *, rng: np.random.Generator) -> dict[str, Any]:
    """Puts a freshly made learner, and torch's generator, into the state of a checkpoint.

    Args:
        place: The checkpoint.
        learner: A learner of the same configuration.
        rng: What draws batches.

    Returns:
        What was kept as `extra`.

    Raises:
        ArtifactError: When the checkpoint is damaged.
    """
    with reading(place):
        state = json.loads((place / STATE_FILE).read_text(encoding="utf-8"))
        learner.network.load_state_dict(load_file(place / "network.safetensors"))
        learner.target.load_state_dict(load_file(place / "target.safetensors"))
        load_moments(place, learner.optimizer)
        generator = load_file(place / "generator.safetensors")["torch"]
        learner.steps, extra = int(state["steps"]), dict(state["extra"])
        rng.bit_generator.state = state["batches"]
    torch.set_rng_state(generator)
    return extra
