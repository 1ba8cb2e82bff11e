"""The per-corpus environment: choose and order one prompt for a whole task. Knows Gymnasium, not learners.

It is the per-query problem with the task in place of the query: the rules, the rewards and the vectorised stepping are
the same, what a prompt is worth is measured on all reward queries together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from gymnasium.vector.utils import batch_space

from envs.demonstrations import DemoSelectionEnv, observation_space, require_limitable
from envs.dynamics import DecisionConfig, DecisionProblem, Episode
from envs.queries import check_split, training_queries
from envs.rewards import EngineScorer, PotentialScorer
from envs.vector import VectorDemoSelection
from selector.errors import TooFewExamplesError, UsageError
from selector.inference.engine import InferenceEngine
from selector.learned.candidate_set import CandidateSet, build_candidate_set, draw_candidates, embed_task
from selector.learned.corpus_observation import CANDIDATE_FEATURES, LM_FEATURES, STATE_FEATURES, observe_corpus
from selector.learned.label_uncertainty import LabelUncertainty
from selector.learned.observation import Observation
from selector.strategies.dense import NearestSelector
from selector.types import Example, Selection
from selector.workspace import Workspace


class CorpusScorer:
    """Values a prompt by its mean over labelled queries; a prompt that was valued before costs nothing.

    Args:
        engine: The engine.
        queries: R labelled queries.
        kind: One of `envs.rewards.POTENTIALS`.
        token_cost: What a thousand tokens of demonstrations take off a potential, in its unit.

    Raises:
        TooFewExamplesError: When there is no query.
        UnknownNameError: When the kind is not known.
        UsageError: When the cost is negative.
    """

    def __init__(
        self, engine: InferenceEngine, queries: Sequence[Example], *, kind: str = "accuracy", token_cost: float = 0.0
    ) -> None:
        if not queries:
            raise TooFewExamplesError(available=0, wanted=1, what="labelled queries to value prompts by")
        self._scorer = EngineScorer(engine, queries, kind=kind, token_cost=token_cost)
        self._count = len(queries)
        self._known: dict[tuple[int, ...], float] = {}

    def potentials(self, queries: Sequence[int], selections: Sequence[Selection]) -> npt.NDArray[np.float64]:
        """Values each selection, all new ones in one language-model batch; see `PotentialScorer.potentials`."""
        del queries  # there is only one: the task
        new = list({one.indices: one for one in selections if one.indices not in self._known}.values())
        if new:
            numbers = list(range(self._count)) * len(new)
            values = self._scorer.potentials(numbers, [one for one in new for _ in range(self._count)])
            means = values.reshape(len(new), self._count).mean(axis=1)
            self._known.update({one.indices: float(mean) for one, mean in zip(new, means, strict=True)})
        return np.array([self._known[selection.indices] for selection in selections])


class CorpusProblem(DecisionProblem):
    """One task with its candidates, and the rules of choosing.

    Args:
        candidates: K candidates.
        scorer: Says what selections are worth; it is always asked for query 0.
        config: The rules; its size is set to K.
        uncertainty: What the language model adds to observations; None leaves it out.

    Raises:
        UsageError: When the rules ask for candidates of each label, or for the features of the per-query problem.
    """

    def __init__(
        self,
        candidates: CandidateSet,
        scorer: PotentialScorer,
        config: DecisionConfig,
        *,
        uncertainty: LabelUncertainty | None = None,
    ) -> None:
        if config.per_label or config.lm_features:
            raise UsageError(
                f"per_label is {config.per_label} and lm_features {config.lm_features} in the rules of one prompt",
                expected="neither: candidates are the same for all queries, and uncertainty reads the language model",
                remedy="Leave them out; pass lm_features to corpus_problem.",
            )
        super().__init__([candidates.shortlist], scorer, replace(config, size=len(candidates)))
        self.candidates = candidates
        self.uncertainty = uncertainty

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the candidate features, in order."""
        named = (f"label {name}" for name in self.candidates.label_names)
        return (*CANDIDATE_FEATURES, *named, *(() if self.uncertainty is None else LM_FEATURES))

    def observe(self, episode: Episode) -> Observation:
        """Describes a state: what a policy of the per-query problem sees, with the features of this one.

        Args:
            episode: The state.

        Returns:
            The observation; see `CorpusSelectionEnv`.
        """
        return {**super().observe(episode), **self.inputs(episode)}

    def inputs(self, episode: Episode) -> Observation:
        """Describes a state as far as the Q-network reads it; see `selector.learned.corpus_observation`.

        Args:
            episode: The state.

        Returns:
            state, features and mask.
        """
        columns = None
        if self.uncertainty is not None:
            [columns] = [self.uncertainty.unasked] if self._full(episode) else self._columns([episode])
        config = self.config
        return observe_corpus(
            self.candidates,
            episode.chosen,
            horizon=config.shots,
            may_stop=config.may_stop,
            constraints=config.constraints,
            uncertainty=columns,
        )

    def prepare(self, episodes: Sequence[Episode]) -> None:
        """Asks the language model, in one batch, for all that observing these states will need.

        Args:
            episodes: N states.
        """
        if self.uncertainty is not None:
            self._columns([episode for episode in episodes if not self._full(episode)])

    def _full(self, episode: Episode) -> bool:
        return len(episode.chosen) == min(self.config.shots, self.config.size)

    def _columns(self, episodes: Sequence[Episode]) -> list[npt.NDArray[np.float32]]:
        return [] if self.uncertainty is None else self.uncertainty.columns([self.selection(one) for one in episodes])


def corpus_space(problem: CorpusProblem) -> spaces.Space[Any]:
    """Describes what a policy sees.

    Args:
        problem: The decision problem.

    Returns:
        The space.
    """
    as_per_query = cast(spaces.Dict, observation_space(problem))
    named = len(problem.candidates.label_names)
    own = {
        "features": spaces.Box(-1.01, 1.01, (len(problem.candidates) * len(problem.features),), dtype=np.float32),
        "state": spaces.Box(-1.01, 1.01, (len(STATE_FEATURES) + named,), dtype=np.float32),
    }
    return spaces.Dict({**as_per_query.spaces, **own})


class CorpusSelectionEnv(DemoSelectionEnv):
    """Choose the demonstrations that all queries of a task are shown, one after the other, in prompt order.

    ## Action Space
    `Discrete(K + 1)`. Action i below K appends candidate i to the prompt; action K is STOP (EXIT). `action_masks()`
    tells which are valid: a candidate is valid once, and only while its label stands in the prompt fewer than
    `max_per_label` times and its tokens fit into `token_budget`; STOP only when `may_stop` is set or nothing else is
    valid. An invalid action raises `ShotsmithError`.

    ## Observation Space
    `Dict` of flat float32 boxes: `query` (D,) the task, which is the mean embedding of its reward queries, and
    `candidates` (K * D,), all of unit norm; `features` (K * F,) of each candidate and `state` (S,) of what is chosen,
    see `selector.learned.corpus_observation`; `chosen` (H * K,) one-hot rows in the order chosen, `mask` (K + 1,) valid
    actions, `step` (1,) the share of H that is chosen. With `label_names` each label of the task has a column more in
    `features` and one in `state`. With `lm_features` each candidate has four features more, from
    the language model's label distribution with the candidate as the query behind what is chosen; they are zero once
    the prompt is full. Without, nothing observed asks the language model.

    ## Starting State
    No demonstration chosen. There is only one starting state; seeds change nothing.

    ## Rewards
    The gain in potential. The potential of a prompt is the mean over the reward queries of whether they are answered
    right (`accuracy`), of the gold label's probability (`probability`), of its logarithm (`logprob`, nats) or of how
    far it is ahead of the best other label (`margin`, nats), by the engine that evaluation uses; less `token_cost` for
    every thousand tokens of demonstrations. Dense rewards pay each step's gain; otherwise the last step pays all of it.
    Both add up to the potential of the final prompt minus that of none, so discount with 1. A prompt that was valued
    before is not valued again.

    ## Episode End
    Terminates with the H-th demonstration, with the last candidate, or with STOP, which is the one valid action when
    the constraints leave nothing else. Never truncates.

    ## Information
    `selection`: pool positions in prompt order; `potential`: what was last paid for.

    ## Arguments
    `problem`: a `CorpusProblem`. `gymnasium.make("envs:shotsmith/CorpusSelection-v0", task=...)` builds one; see
    `make_environment`.

    ## References
    Zhang, Feng & Tan (2022), "Active Example Selection for In-Context Learning"; Ng, Harada & Russell (1999) for the
    shaping.

    ## Version History
    v0: first version.
    """

    problem: CorpusProblem

    def __init__(self, problem: CorpusProblem) -> None:
        super().__init__(problem)
        self.observation_space = corpus_space(problem)

    def _information(self) -> dict[str, Any]:
        information = super()._information()
        del information["query"]
        return information


class VectorCorpusSelection(VectorDemoSelection):
    """N copies over one task that step with one language-model batch; see `CorpusSelectionEnv` for the MDP.

    With `lm_features` a step asks a second batch, for the observations behind it.

    Args:
        problem: The decision problem.
        copies: N.
    """

    problem: CorpusProblem

    def __init__(self, problem: CorpusProblem, copies: int) -> None:
        super().__init__(problem, copies)
        self.single_observation_space = corpus_space(problem)
        self.observation_space = batch_space(self.single_observation_space, copies)

    def _information(self, episodes: Sequence[Episode]) -> dict[str, Any]:
        told = super()._information(episodes)
        return {name: value for name, value in told.items() if name not in ("query", "_query")}


def corpus_problem(
    engine: InferenceEngine,
    nearest: NearestSelector,
    queries: Sequence[Example],
    *,
    config: DecisionConfig,
    reward: str = "accuracy",
    token_cost: float = 0.0,
    label_names: bool = True,
    lm_features: bool = False,
    task_queries: Sequence[Example] = (),
    seed: int = 0,
) -> CorpusProblem:
    """Builds the decision problem of a task.

    Args:
        engine: The engine; its pool holds the candidates.
        nearest: The embeddings of that pool.
        queries: Labelled queries by which prompts are valued.
        config: The rules; of the pool `size` candidates are drawn.
        reward: One of `envs.rewards.POTENTIALS`.
        token_cost: What a thousand tokens of demonstrations take off a potential.
        label_names: Whether observations tell labels by name, and not only as same or different.
        lm_features: Whether observations ask the language model.
        task_queries: The queries whose mean embedding stands for the task; else `queries`.
        seed: Seeds the draw of candidates.

    Returns:
        The problem.

    Raises:
        TooFewExamplesError: When there is no query, or fewer candidates than a prompt takes.
        UsageError: When a limit for labels is set and labels are not the same for every query.
        UnknownNameError: When the reward is not known.
    """
    scorer = CorpusScorer(engine, queries, kind=reward, token_cost=token_cost)
    task = embed_task(task_queries or queries, nearest.query_encoder)
    drawn = draw_candidates(engine.pool, config.size, seed=seed)
    if len(drawn) < config.shots:
        raise TooFewExamplesError(available=len(drawn), wanted=config.shots, what="candidates")
    require_limitable(engine, config)
    counts = engine.demonstration_tokens if config.token_budget is not None else None
    candidates = build_candidate_set(
        engine.pool,
        nearest.rows,
        task,
        drawn,
        token_counts=counts,
        label_names=engine.template.labels if label_names else (),
    )
    uncertainty = LabelUncertainty(engine, candidates.shortlist.indices) if lm_features else None
    return CorpusProblem(candidates, scorer, config, uncertainty=uncertainty)


def make_environment(
    *,
    task: str | Path,
    split: str = "reward",
    shots: int = 4,
    candidates: int = 100,
    reward: str = "accuracy",
    dense: bool = True,
    may_stop: bool = False,
    token_cost: float = 0.0,
    max_per_label: int | None = None,
    token_budget: int | None = None,
    label_names: bool = True,
    lm_features: bool = False,
    seed: int = 0,
    use_store: bool = True,
) -> CorpusSelectionEnv:
    """Builds the environment of a task; what `gymnasium.make("envs:shotsmith/CorpusSelection-v0", ...)` calls.

    Args:
        task: A TASK.toml, or the name of a bundled task.
        split: Which queries value prompts: "reward" or "dev". Without reward queries these are the first three quarters
            and the rest of the dev queries. The test split is never seen.
        shots: H, the most demonstrations in a prompt.
        candidates: K, how many members of the pool are drawn as candidates.
        reward: "accuracy", "probability", "logprob" or "margin".
        dense: Whether every step is rewarded.
        may_stop: Whether STOP is a choice.
        token_cost: What a thousand tokens of demonstrations take off a potential.
        max_per_label: How many demonstrations of one label a prompt may hold; None for no limit.
        token_budget: How many tokens its demonstrations may have together; None for no limit.
        label_names: Whether labels are told by name, and not only as same or different.
        lm_features: Whether observations ask the language model.
        seed: Seeds the draw of candidates.
        use_store: Whether scores come from and go to the persistent score store.

    Returns:
        The environment.

    Raises:
        TaskFileError: When the task file is missing or wrong.
        EmptyPoolError: When there is no reward query, and too few dev queries to give some away.
        TooFewExamplesError: When there is no dev query, and they were asked for.
        UnknownNameError: When split or reward is not known.
    """
    check_split(split)
    workspace = Workspace.open(task, use_store=use_store)
    queries = training_queries(workspace.task.reward, workspace.task.dev)
    rules = DecisionConfig(shots, candidates, may_stop, dense, max_per_label, token_budget)
    given: dict[str, Any] = {"reward": reward, "token_cost": token_cost, "label_names": label_names, "seed": seed}
    problem = corpus_problem(
        workspace.engine,
        NearestSelector(workspace.task.pool, workspace.encoder),
        queries.of_split(split),
        config=rules,
        lm_features=lm_features,
        task_queries=queries.rewarding,
        **given,
    )
    return CorpusSelectionEnv(problem)


def make_vector_environment(num_envs: int, **options: Any) -> VectorCorpusSelection:
    """Builds many copies over one workspace; what `gymnasium.make_vec("envs:shotsmith/CorpusSelection-v0", ...)` calls.

    Args:
        num_envs: How many copies.
        **options: See `make_environment`.

    Returns:
        The copies.
    """
    return VectorCorpusSelection(make_environment(**options).problem, num_envs)
