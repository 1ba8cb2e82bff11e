"""The per-query environment: choose and order demonstrations for one query. Knows Gymnasium, not learners."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from envs.dynamics import DecisionConfig, DecisionProblem, Episode
from envs.rewards import EngineScorer
from selector.errors import UnknownNameError, UsageError
from selector.learned.observation import FEATURES, Observation
from selector.learned.shortlist import build_shortlists
from selector.strategies.dense import NearestSelector
from selector.workspace import Workspace


def observation_space(problem: DecisionProblem) -> spaces.Space[Any]:
    """Describes what a policy sees; see `selector.learned.observation.observe`.

    Args:
        problem: The decision problem.

    Returns:
        The space.
    """
    size, shots, width = problem.config.size, problem.config.shots, problem.width

    def box(low: float, high: float, *shape: int) -> spaces.Box:
        return spaces.Box(low, high, shape, dtype=np.float32)

    # Embeddings have unit norm; the margin absorbs rounding.
    return spaces.Dict(
        {
            "query": box(-1.01, 1.01, width),
            "candidates": box(-1.01, 1.01, size * width),
            "features": box(-1.01, 1.01, size * len(FEATURES)),
            "chosen": box(0, 1, shots * size),
            "mask": box(0, 1, size + 1),
            "step": box(0, 1, 1),
        }
    )


class DemoSelectionEnv(gymnasium.Env[Observation, np.int64]):
    """Choose demonstrations for a query, one after the other; the order chosen is the order in the prompt.

    ## Action Space
    `Discrete(K + 1)`. Action i below K appends candidate i of the query's shortlist to the prompt; action K is STOP.
    `action_masks()` tells which are valid: a candidate is valid once, STOP only when `may_stop` is set (or nothing
    else is left). An invalid action raises `ShotsmithError`.

    ## Observation Space
    `Dict` of flat float32 boxes: `query` (D,) and `candidates` (K * D,) unit-norm embeddings, `features` (K * F,) of
    each candidate (similarity, redundancy, label shares, rank), `chosen` (H * K,) one-hot rows in the order chosen,
    `mask` (K + 1,) valid actions, `step` (1,) the share of H that is chosen. Short shortlists are padded with zeros.
    No feature asks the language model.

    ## Starting State
    A query drawn uniformly from the reward queries, no demonstration chosen. `reset(options={"query": n})` starts
    with query n.

    ## Rewards
    The gain in potential. The potential of a prompt is the gold label's log-probability (`logprob`, nats), its
    probability (`probability`) or whether it is answered right (`accuracy`), by the engine that evaluation uses.
    Dense rewards pay each step's gain; otherwise the last step pays all of it. Both add up to the potential of the
    final prompt minus that of none, so discount with 1.

    ## Episode End
    Terminates with the H-th demonstration, with the last candidate of a short shortlist, or with STOP. Never
    truncates.

    ## Information
    `query`: the query's number; `selection`: pool positions in prompt order; `potential`: what was last paid for.

    ## Arguments
    `problem`: a `DecisionProblem`. `gymnasium.make("envs:shotsmith/DemoSelection-v0", task=...)` builds one; see
    `make_environment`.

    ## References
    Zhang, Feng & Tan (2022), "Active Example Selection for In-Context Learning"; Scarlatos & Lan (2024), "RetICL";
    Ng, Harada & Russell (1999) for the shaping.

    ## Version History
    v0: first version.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - Gymnasium reads it from the class

    def __init__(self, problem: DecisionProblem) -> None:
        self.problem = problem
        self.observation_space = observation_space(problem)
        self.action_space = spaces.Discrete(problem.config.size + 1)
        self._episode = Episode(0)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Starts an episode.

        Args:
            seed: Seeds the draw of queries.
            options: `query`, the number of the query to start with.

        Returns:
            The first observation and the information.

        Raises:
            UsageError: When there is no query of that number.
        """
        super().reset(seed=seed)
        count = len(self.problem.shortlists)
        query = (options or {}).get("query")
        if query is None:
            query = int(self.np_random.integers(count))
        elif not 0 <= query < count:
            raise UsageError(f"query {query} was asked for", expected=f"0 to {count - 1}", remedy="Choose another.")
        self._episode = self.problem.start([query])[0]
        return self.problem.observe(self._episode), self._information()

    def step(self, action: np.int64 | int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Appends a candidate or stops.

        Args:
            action: 0 to K - 1 for a candidate, K to stop.

        Returns:
            Observation, reward, terminated, truncated (always False) and information.

        Raises:
            ShotsmithError: When the action is not valid; see `action_masks`.
        """
        outcome = self.problem.step([self._episode], [int(action)])[0]
        self._episode = outcome.episode
        return self.problem.observe(self._episode), outcome.reward, outcome.done, False, self._information()

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Tells which actions are valid now.

        Returns:
            (K + 1,) bool.
        """
        return self.problem.mask(self._episode)

    def _information(self) -> dict[str, Any]:
        episode = self._episode
        chosen = self.problem.selection(episode).indices
        return {"query": episode.query, "selection": chosen, "potential": episode.potential}


def make_environment(
    *,
    task: str | Path,
    split: str = "reward",
    shots: int = 4,
    shortlist_size: int = 16,
    reward: str = "logprob",
    dense: bool = True,
    may_stop: bool = False,
    use_store: bool = True,
) -> DemoSelectionEnv:
    """Builds the environment of a task; what `gymnasium.make("envs:shotsmith/DemoSelection-v0", ...)` calls.

    Args:
        task: A TASK.toml, or the name of a bundled task.
        split: Where queries come from: "reward" or "dev". The test split is never seen.
        shots: H, the most demonstrations in a prompt.
        shortlist_size: K, how many nearest candidates each query is offered.
        reward: "logprob", "probability" or "accuracy".
        dense: Whether every step is rewarded.
        may_stop: Whether STOP is a choice.
        use_store: Whether scores come from and go to the persistent score store.

    Returns:
        The environment.

    Raises:
        TaskFileError: When the task file is missing or wrong.
        UnknownNameError: When split or reward is not known.
    """
    if split not in ("reward", "dev"):
        raise UnknownNameError("split", split, known=("reward", "dev"))
    workspace = Workspace.open(task, use_store=use_store)
    queries = workspace.task.reward if split == "reward" else workspace.task.dev
    nearest = NearestSelector(workspace.task.pool, workspace.encoder)
    config = DecisionConfig(shots=shots, size=shortlist_size, may_stop=may_stop, dense=dense)
    shortlists = build_shortlists(queries, nearest, shortlist_size)
    return DemoSelectionEnv(DecisionProblem(shortlists, EngineScorer(workspace.engine, queries, kind=reward), config))
