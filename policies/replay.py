"""Stored episodes as transitions between described states, to learn from in batches.

Every state is described once, however many episodes pass through it. A described state can be costly where the language
model is part of it, so what it said is kept in a file of its own. Rewards are told in standard deviations of the first
episodes' returns, so that a weight against them, such as that of the conservative term, means the same for every task:
the accuracy of random prompts may differ by a few points or by thirty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from envs.corpus import CorpusProblem
from envs.dynamics import Episode
from policies.episodes import StoredEpisode
from selector.errors import ArtifactError
from selector.learned.observation import Observation
from selector.learned.tensors import save_tensors

STOP_SHARE = 0.05  # of the states passed through also serve as an example of stopping there (Zhang, Feng & Tan, 2022)
STATES_AT_ONCE = 16  # that the language model is asked about in one batch


class Batch(NamedTuple):
    """B transitions.

    Attributes:
        before: The arrays of B states.
        actions: (B,) what was chosen.
        rewards: (B,) what it was paid, in units of `Replay.unit`.
        after: The arrays of the B states behind.
        done: (B,) 1 where the episode ended.
    """

    before: Mapping[str, Tensor]
    actions: Tensor
    rewards: Tensor
    after: Mapping[str, Tensor]
    done: Tensor


class Replay:
    """The transitions of stored episodes.

    Args:
        problem: The problem they are of.
        seed: Seeds where stopping is shown.
    """

    def __init__(self, problem: CorpusProblem, *, seed: int) -> None:
        self._problem = problem
        self._seed = seed
        self.unit = 0.0  # the standard deviation of the first episodes' returns; 0 before there are any
        self._places: dict[tuple[int, ...], int] = {}
        self._states: list[Observation] = []
        self._transitions: list[tuple[int, int, float, int, bool]] = []
        self._arrays: dict[str, Tensor] = {}
        self._columns: tuple[Tensor, ...] = ()

    def __len__(self) -> int:
        return len(self._transitions)

    def add(self, episodes: Sequence[StoredEpisode]) -> None:
        """Adds the transitions of episodes.

        Args:
            episodes: The episodes; where STOP is a choice, some of their states are followed by it as well. Where the
                last step alone is rewarded, what those sets are worth is asked of the scorer.
        """
        if not episodes:
            return
        if not self.unit:
            spread = float(np.std([sum(episode.rewards) for episode in episodes]))
            self.unit = spread if spread > 1e-6 else 1.0  # prompts that are all worth the same
        prefixes = (episode.actions[:end] for episode in episodes for end in range(len(episode.actions)))
        self._describe([one for one in dict.fromkeys(prefixes) if one not in self._places])
        stopping = {episode.number: self._stopping(episode) for episode in episodes}
        paid = self._paid([episode.actions[:at] for episode in episodes for at in stopping[episode.number]])
        for episode in episodes:  # their order says what is drawn, so it must not depend on how they were grouped
            for at, (action, reward) in enumerate(zip(episode.actions, episode.rewards, strict=True)):
                before, last = self._places[episode.actions[:at]], at + 1 == len(episode.actions)
                after = before if last else self._places[episode.actions[: at + 1]]
                self._transitions.append((before, action, reward, after, last))
                if at in stopping[episode.number]:
                    stop = self._problem.config.size
                    self._transitions.append((before, stop, paid[episode.actions[:at]], before, True))
        self._arrays = {
            name: torch.from_numpy(np.stack([state[name] for state in self._states])) for name in self._states[0]
        }
        befores, actions, rewards, afters, done = (torch.tensor(one) for one in zip(*self._transitions, strict=True))
        self._columns = (befores, actions, rewards.float() / self.unit, afters, done.float())

    def batch(self, rng: np.random.Generator, size: int) -> Batch:
        """Draws transitions with replacement.

        Args:
            rng: Draws.
            size: B.

        Returns:
            The batch.
        """
        drawn = torch.from_numpy(rng.integers(len(self), size=size))
        before, actions, rewards, after, done = (column[drawn] for column in self._columns)
        return Batch(self._rows(before), actions, rewards, self._rows(after), done)

    def some_states(self, count: int) -> Observation:
        """Gives described states, spread over all of them.

        Args:
            count: How many at most.

        Returns:
            Their arrays with a batch axis.
        """
        places = np.unique(np.linspace(0, len(self._states) - 1, count).astype(np.int64))
        return {name: np.stack([self._states[place][name] for place in places]) for name in self._states[0]}

    def _rows(self, places: Tensor) -> dict[str, Tensor]:
        return {name: array[places] for name, array in self._arrays.items()}

    def _stopping(self, episode: StoredEpisode) -> list[int]:
        """Behind how many choices of an episode STOP is shown as well."""
        if not self._problem.config.may_stop:
            return []
        rng = np.random.default_rng([self._seed, 2, episode.number])
        return [at for at in range(len(episode.actions)) if rng.random() < STOP_SHARE]

    def _paid(self, prefixes: Sequence[tuple[int, ...]]) -> dict[tuple[int, ...], float]:
        """What the problem pays for STOP behind beginnings of episodes."""
        stop, (start,) = self._problem.config.size, self._problem.start([0])
        paid = dict.fromkeys(prefixes, 0.0)  # a dense episode that stops has been paid for
        if not self._problem.config.dense:
            asked = list(paid)
            for at in range(0, len(asked), STATES_AT_ONCE):
                part = asked[at : at + STATES_AT_ONCE]
                states = [Episode(0, prefix, start.potential) for prefix in part]
                outcomes = self._problem.step(states, [stop] * len(part))
                paid |= {prefix: outcome.reward for prefix, outcome in zip(part, outcomes, strict=True)}
        return paid

    def _describe(self, prefixes: Sequence[tuple[int, ...]]) -> None:
        for start in range(0, len(prefixes), STATES_AT_ONCE):
            part = prefixes[start : start + STATES_AT_ONCE]
            states = [Episode(0, chosen) for chosen in part]
            self._problem.prepare(states)
            for chosen, state in zip(part, states, strict=True):
                self._places[chosen] = len(self._states)
                self._states.append(self._problem.inputs(state))


def keep_uncertainty(path: Path, problem: CorpusProblem) -> None:
    """Writes what the language model said of states, where the problem asks it.

    Args:
        path: The file.
        problem: The problem.

    Raises:
        DiskFullError: When there is no room.
    """
    if problem.uncertainty is not None:
        known = problem.uncertainty.known
        tensors = {
            " ".join(map(str, indices)) or "none": torch.from_numpy(columns) for indices, columns in known.items()
        }
        scratch = path.with_name(f".{path.name}.new")
        save_tensors(scratch, tensors)
        scratch.replace(path)  # whole or not at all


def recall_uncertainty(path: Path, problem: CorpusProblem) -> None:
    """Takes in what `keep_uncertainty` has written.

    Args:
        path: The file; a missing one holds nothing.
        problem: The problem.

    Raises:
        ArtifactError: When the file is damaged.
    """
    if problem.uncertainty is None or not path.is_file():
        return
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ArtifactError(
            f"{path} is damaged ({str(error).splitlines()[0]})",
            expected="what train-policy has written",
            remedy="Delete it: the language model is asked again.",
        ) from error
    for name, tensor in tensors.items():
        problem.uncertainty.remember(tuple(map(int, name.removeprefix("none").split())), tensor.numpy())
