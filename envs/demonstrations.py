"""The per-query environment: choose and order demonstrations for one query. Knows Gymnasium, not learners."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from envs.dynamics import DecisionConfig, DecisionProblem, Episode
from envs.queries import check_split, training_queries
from envs.rewards import EngineScorer
from selector.errors import UsageError
from selector.inference.engine import InferenceEngine
from selector.learned.lm_features import PROMPT_FEATURES, PROMPT_VIEW, EngineReader
from selector.learned.observation import Observation, feature_names
from selector.learned.shortlist import build_shortlists
from selector.strategies.dense import NearestSelector
from selector.types import Example
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

    lm_features = problem.config.lm_features
    # Embeddings have unit norm; the margin absorbs rounding.
    described: dict[str, spaces.Space[Any]] = {
        "query": box(-1.01, 1.01, width),
        "candidates": box(-1.01, 1.01, size * width),
        "features": box(-1.01, 1.01, size * len(feature_names(lm_features))),
        "chosen": box(0, 1, shots * size),
        "mask": box(0, 1, size + 1),
        "step": box(0, 1, 1),
    }
    if lm_features:
        described["prompt"] = box(0, 1, len(PROMPT_FEATURES))
    return spaces.Dict(described)


def whole_number(value: Any, what: str) -> int:
    """Reads a number that must be whole, such as an action.

    Args:
        value: An integer of Python or numpy, or an array of an integer without axes.
        what: What it is, for the error.

    Returns:
        The integer.

    Raises:
        UsageError: When it is anything else; 1.9 is no 1.
    """
    wrong = UsageError(f"{what} is {value!r}", expected="a whole number", remedy="Pass an integer.")
    if isinstance(value, bool | np.bool_):
        raise wrong
    try:
        return operator.index(value)
    except TypeError as error:
        raise wrong from error


class DemoSelectionEnv(gymnasium.Env[Observation, np.int64]):
    """Choose demonstrations for a query, one after the other; the order chosen is the order in the prompt.

    ## Action Space
    `Discrete(K + 1)`. Action i below K appends candidate i of the query's shortlist to the prompt; action K is STOP.
    `action_masks()` tells which are valid (behind wrappers: `env.get_wrapper_attr("action_masks")()`): a candidate is
    valid once, and only while its label stands in the prompt fewer than `max_per_label` times and its tokens fit into
    `token_budget`; STOP only when `may_stop` is set or nothing else is valid. An invalid action raises
    `ShotsmithError`.

    ## Observation Space
    `Dict` of flat float32 boxes: `query` (D,) and `candidates` (K * D,) unit-norm embeddings, `features` (K * F,) of
    each candidate (similarity, redundancy, label shares, rank), `chosen` (H * K,) one-hot rows in the order chosen,
    `mask` (K + 1,) valid actions, `step` (1,) the share of H that is chosen. Short shortlists are padded with zeros.
    No feature asks the language model, unless `lm_features` is set: then `prompt` (P,) holds the largest label
    probabilities under the current prompt, their entropy and its familiarity, and each candidate has one feature more,
    the probability of its label; see `selector.learned.lm_features`. With `lm_view="query"` all of that is told of the
    query without any demonstration, which asks once for each query.

    ## Starting State
    A query drawn uniformly from the reward queries, no demonstration chosen. `reset(options={"query": n})` starts
    with query n.

    ## Rewards
    The gain in potential. The potential of a prompt is the gold label's log-probability (`logprob`, nats), its
    probability (`probability`), how far it is ahead of the best other label (`margin`, nats) or whether it is answered
    right (`accuracy`), by the engine that evaluation uses, contextual calibration included; less `token_cost` for
    every thousand tokens of demonstrations.
    Dense rewards pay each step's gain; otherwise the last step pays all of it. Both add up to the potential of the
    final prompt minus that of none, so discount with 1.

    ## Episode End
    Terminates with the H-th demonstration, with the last candidate of a short shortlist, or with STOP, which is the
    one valid action when the constraints leave nothing else. Never truncates.

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
        self._running = False

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
            UsageError: When there is no query of that number, or an option of another name is given.
        """
        super().reset(seed=seed)
        given = dict(options or {})
        count, query = len(self.problem.shortlists), given.pop("query", None)
        if given:
            raise UsageError(f"reset was given the options {sorted(given)}", expected="query", remedy="Leave them out.")
        if query is None:
            query = int(self.np_random.integers(count))
        elif not 0 <= (query := whole_number(query, "query")) < count:
            raise UsageError(f"query {query} was asked for", expected=f"0 to {count - 1}", remedy="Choose another.")
        self._episode, self._running = self.problem.start([query])[0], True
        return self.problem.observe(self._episode), self._information()

    def step(self, action: np.int64 | int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Appends a candidate or stops.

        Args:
            action: 0 to K - 1 for a candidate, K to stop.

        Returns:
            Observation, reward, terminated, truncated (always False) and information.

        Raises:
            ShotsmithError: When the action is not valid; see `action_masks`.
            UsageError: When it is no whole number.
            ResetNeeded: When no episode is running.
        """
        if not self._running:
            raise gymnasium.error.ResetNeeded("the episode has ended, or none has begun: call reset() before step()")
        outcome = self.problem.step([self._episode], [whole_number(action, "action")])[0]
        self._episode, self._running = outcome.episode, not outcome.done
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


def require_limitable(engine: InferenceEngine, config: DecisionConfig) -> None:
    """Makes sure that a limit for labels can bind.

    Args:
        engine: The engine.
        config: The rules.

    Raises:
        UsageError: When `max_per_label` is set and targets are free text, nearly all different.
        OwnChoicesError: When it is set and queries have choices of their own.
    """
    if config.max_per_label is not None:
        engine.require_label_scores("a limit for each label (max_per_label)")
        engine.require_shared_labels("a limit for each label (max_per_label)")


def query_problem(
    engine: InferenceEngine,
    queries: Sequence[Example],
    nearest: NearestSelector,
    config: DecisionConfig,
    *,
    reward: str = "logprob",
    token_cost: float = 0.0,
    at_least: int = 1,
) -> DecisionProblem:
    """Puts the per-query problem together.

    Args:
        engine: Pays rewards; counts tokens and looks at states where the rules say so.
        queries: N labelled queries.
        nearest: Offers each query its nearest candidates.
        config: The rules.
        reward: One of `envs.rewards.POTENTIALS`.
        token_cost: What a thousand tokens of demonstrations take off a potential.
        at_least: How many candidates each query needs.

    Returns:
        The problem.

    Raises:
        TooFewExamplesError: When the pool holds fewer than `at_least` for a query.
        UsageError: When a limit for labels is set and labels are not the same for every query.
        UnknownNameError: When the reward is not known.
    """
    require_limitable(engine, config)
    counts = engine.demonstration_tokens if config.token_budget is not None else None
    shortlists = build_shortlists(
        queries, nearest, config.size, at_least=at_least, per_label=config.per_label, token_counts=counts
    )
    scorer = EngineScorer(engine, queries, kind=reward, token_cost=token_cost)
    reader = EngineReader(engine, queries, view=config.lm_view) if config.lm_features else None
    return DecisionProblem(shortlists, scorer, config, reader=reader)


def make_environment(
    *,
    task: str | Path,
    split: str = "reward",
    shots: int = 4,
    shortlist_size: int = 16,
    reward: str = "logprob",
    dense: bool = True,
    may_stop: bool = False,
    token_cost: float = 0.0,
    max_per_label: int | None = None,
    token_budget: int | None = None,
    lm_features: bool = False,
    lm_view: str = PROMPT_VIEW,
    per_label: int = 0,
    use_store: bool = True,
) -> DemoSelectionEnv:
    """Builds the environment of a task; what `gymnasium.make("envs:shotsmith/DemoSelection-v0", ...)` calls.

    Args:
        task: A TASK.toml, or the name of a bundled task.
        split: Where queries come from: "reward" or "dev". Without reward queries these are the first three quarters and
            the rest of the dev queries. The test split is never seen.
        shots: H, the most demonstrations in a prompt.
        shortlist_size: K, how many nearest candidates each query is offered.
        reward: "logprob", "probability", "margin" or "accuracy".
        dense: Whether every step is rewarded.
        may_stop: Whether STOP is a choice.
        token_cost: What a thousand tokens of demonstrations take off a potential.
        max_per_label: How many demonstrations of one label a prompt may hold; None for no limit.
        token_budget: How many tokens its demonstrations may have together; None for no limit.
        lm_features: Whether observations tell what the language model says of the state.
        lm_view: What it is shown for that: "prompt", what is chosen so far, or "query", the query alone.
        per_label: How many of the candidates are the nearest of each label; with 0 labels do not matter.
        use_store: Whether scores come from and go to the persistent score store.

    Returns:
        The environment.

    Raises:
        TaskFileError: When the task file is missing or wrong.
        EmptyPoolError: When there is no query.
        UnknownNameError: When split, reward or view is not known.
    """
    check_split(split)
    workspace = Workspace.open(task, use_store=use_store)
    queries = training_queries(workspace.task.reward, workspace.task.dev).of_split(split)
    nearest = NearestSelector(workspace.task.pool, workspace.encoder)
    limits: dict[str, Any] = {"max_per_label": max_per_label, "token_budget": token_budget, "per_label": per_label}
    config = DecisionConfig(shots, shortlist_size, may_stop, dense, lm_features=lm_features, lm_view=lm_view, **limits)
    return DemoSelectionEnv(
        query_problem(workspace.engine, queries, nearest, config, reward=reward, token_cost=token_cost)
    )
