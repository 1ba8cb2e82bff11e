"""Many copies of the per-query environment that step with one language-model batch.

Copies that end start anew within the same step (Gymnasium's same-step autoreset): the observation returned is the new
episode's first, the ended one's last stands in the information.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from gymnasium.vector.utils import batch_space

from envs.demonstrations import make_environment, observation_space, whole_number
from envs.dynamics import DecisionProblem, Episode
from selector.errors import UsageError
from selector.learned.observation import Observation


class VectorDemoSelection(gymnasium.vector.VectorEnv[Observation, npt.NDArray[np.int64], Any]):
    """N copies over one decision problem; see `envs.demonstrations.DemoSelectionEnv` for the MDP.

    Where observations ask the language model a step asks a second batch, mostly for prompts that were just scored: with
    a score store they cost nothing.

    Args:
        problem: The decision problem.
        copies: N.
    """

    def __init__(self, problem: DecisionProblem, copies: int) -> None:
        self.problem = problem
        self.num_envs = copies
        self.metadata = {"autoreset_mode": gymnasium.vector.AutoresetMode.SAME_STEP}
        self.single_observation_space = observation_space(problem)
        self.single_action_space = spaces.Discrete(problem.config.size + 1)
        self.observation_space = batch_space(self.single_observation_space, copies)
        self.action_space = batch_space(self.single_action_space, copies)
        self.episodes: list[Episode] = []

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Starts N episodes.

        Args:
            seed: One seed for the draw of all queries; of a list the first counts.
            options: None or empty: queries are drawn.

        Returns:
            Observations with a first axis of N, and the information.

        Raises:
            UsageError: When options are given.
        """
        if options:
            raise UsageError(
                f"reset was given the options {sorted(options)}", expected="none", remedy="Leave them out."
            )
        if seed is not None:
            self._np_random, self._np_random_seed = gymnasium.utils.seeding.np_random(
                seed[0] if isinstance(seed, list) else seed
            )
        self.episodes = self._fresh(self.num_envs)
        return self.observations(), self._information(self.episodes)

    def step(
        self, actions: npt.NDArray[np.int64]
    ) -> tuple[Observation, npt.NDArray[np.float64], npt.NDArray[np.bool_], npt.NDArray[np.bool_], dict[str, Any]]:
        """Steps all copies with one call to the scorer.

        Args:
            actions: (N,) actions.

        Returns:
            Observations, rewards (N,), terminated (N,), truncated (N,) and information, each entry with a mask of its
            name behind an underscore; of copies that ended, `final_obs`, `final_info`, `final_selection` and
            `final_potential`.

        Raises:
            ShotsmithError: When an action is not valid.
            UsageError: When there is not one whole number for each copy.
            ResetNeeded: When no episode is running.
        """
        if not self.episodes:
            raise gymnasium.error.ResetNeeded("no episode has begun: call reset() before step()")
        if len(actions) != self.num_envs:
            raise UsageError(
                f"{len(actions)} actions for {self.num_envs} copies", expected="one for each", remedy="Pass as many."
            )
        outcomes = self.problem.step(self.episodes, [whole_number(action, "action") for action in actions])
        done = np.array([outcome.done for outcome in outcomes])
        last = [outcome.episode for outcome in outcomes]
        fresh = iter(self._fresh(int(done.sum())))
        self.episodes = [next(fresh) if outcome.done else outcome.episode for outcome in outcomes]
        ended = [episode for episode, over in zip(last, done, strict=True) if over]
        states = self.problem.observe_all([*ended, *self.episodes])  # one batch where features ask the language model
        information: dict[str, Any] = {}
        if ended:
            final = iter(states)
            told = self._information(last)
            information = {
                "final_obs": _objects([next(final) if over else None for over in done]),
                "final_selection": told["selection"],
                "final_potential": told["potential"],
            }
            information |= {f"_{name}": done.copy() for name in information}
            masked = {name: done.copy() if name.startswith("_") else value for name, value in told.items()}
            information |= {"final_info": masked, "_final_info": done.copy()}
        rewards = np.array([outcome.reward for outcome in outcomes])
        now = stacked(states[len(ended) :])
        return now, rewards, done, np.zeros_like(done), self._information(self.episodes) | information

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Tells which actions are valid in each copy.

        Returns:
            (N, K + 1) bool.

        Raises:
            ResetNeeded: When no episode is running.
        """
        if not self.episodes:
            raise gymnasium.error.ResetNeeded("no episode has begun: call reset() before action_masks()")
        return np.stack([self.problem.mask(episode) for episode in self.episodes])

    def observations(self) -> Observation:
        """Describes all copies.

        Returns:
            The arrays of one observation, each with a first axis of N.
        """
        return stacked(self.problem.observe_all(self.episodes))

    def restore(self, episodes: Sequence[Episode], random_state: dict[str, Any]) -> None:
        """Puts all copies back into states of before.

        Args:
            episodes: N states, as `episodes` held them.
            random_state: Of the generator that draws queries, as `np_random.bit_generator.state` gave it.
        """
        self.episodes = list(episodes)
        self.np_random.bit_generator.state = random_state

    def _fresh(self, count: int) -> list[Episode]:
        return self.problem.start([int(n) for n in self.np_random.integers(len(self.problem.shortlists), size=count)])

    def _information(self, episodes: Sequence[Episode]) -> dict[str, Any]:
        """What the single environment tells, of N episodes."""
        told = {
            "query": np.array([episode.query for episode in episodes]),
            "selection": _objects([self.problem.selection(episode).indices for episode in episodes]),
            "potential": np.array([episode.potential for episode in episodes]),
        }
        return told | {f"_{name}": np.ones(len(episodes), dtype=bool) for name in told}


def make_vector_environment(num_envs: int, **options: Any) -> VectorDemoSelection:
    """Builds many copies over one workspace; what `gymnasium.make_vec("envs:shotsmith/DemoSelection-v0", ...)` calls.

    Args:
        num_envs: How many copies.
        **options: See `envs.demonstrations.make_environment`.

    Returns:
        The copies.
    """
    return VectorDemoSelection(make_environment(**options).problem, num_envs)


def _objects(values: Sequence[Any]) -> npt.NDArray[np.object_]:
    """(N,) of whatever; numpy would make two axes of tuples of one length."""
    made = np.empty(len(values), dtype=object)
    for at, value in enumerate(values):
        made[at] = value
    return made


def stacked(states: Sequence[Observation]) -> Observation:
    """Puts observations into one with a batch axis.

    Args:
        states: N observations.

    Returns:
        The same arrays with a first axis of N.
    """
    return {name: np.stack([state[name] for state in states]) for name in states[0]}
