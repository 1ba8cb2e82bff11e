"""An exported policy that chooses one ordered set of demonstrations for a whole task.

The set is chosen once and shown to every query: the best that the training has seen valued, or what the Q-network
chooses greedily, with the labels of that best one in their order. Neither the learner nor, unless the policy reads it,
the language model is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from selector.data.pool import Pool
from selector.errors import ArtifactError, UsageError
from selector.inference.engine import InferenceEngine
from selector.learned.candidate_set import (
    CandidateSet,
    build_candidate_set,
    draw_candidates,
    embed_task,
    showing_labels,
)
from selector.learned.constraints import UNCONSTRAINED, Constraints
from selector.learned.corpus_artifact import CorpusArtifact, read_corpus_artifact
from selector.learned.corpus_network import CorpusQNetwork
from selector.learned.corpus_observation import observe_corpus
from selector.learned.label_uncertainty import LabelUncertainty
from selector.retrieval.encoder import TextEncoder
from selector.strategies.base import require_enough
from selector.strategies.dense import NearestSelector
from selector.strategies.fitting import fitting_encoder, require_engine
from selector.types import Query, Selection

MOST_CANDIDATES = 2000  # of a larger pool this many are drawn: one prompt has no need of a million candidates


def greedy_set(
    network: CorpusQNetwork,
    candidates: CandidateSet,
    *,
    horizon: int,
    may_stop: bool,
    excluded: Collection[int] = (),
    constraints: Constraints = UNCONSTRAINED,
    uncertainty: LabelUncertainty | None = None,
    pattern: Sequence[str] = (),
) -> Selection:
    """Chooses the most valuable valid action until the prompt is full or stopped.

    Args:
        network: The Q-network.
        candidates: K candidates.
        horizon: How many demonstrations to choose at most.
        may_stop: Whether the network may choose fewer.
        excluded: Pool positions that may not be chosen.
        constraints: What the prompt may hold.
        uncertainty: What the language model adds to the observation, where the network reads it.
        pattern: Labels that the demonstrations shall have, in prompt order, where the candidates know labels by name;
            behind the last one nothing follows if the network may stop. A label that no valid candidate has is left to
            the network.

    Returns:
        The selection in the order chosen; a score is the value of the choice, in standard deviations of what random
        prompts of the training were worth.
    """
    indices = candidates.shortlist.indices
    places = [place for place, index in enumerate(indices) if index in excluded]
    chosen: list[int] = []
    scores: list[float] = []
    most = min(len(pattern) if pattern and may_stop else horizon, horizon, len(indices) - len(places))
    while len(chosen) < most:
        shown = Selection.of(*(indices[place] for place in chosen))
        columns = None if uncertainty is None else uncertainty.columns([shown])[0]
        state = observe_corpus(
            candidates,
            chosen,
            horizon=horizon,
            may_stop=may_stop,
            excluded=places,
            constraints=constraints,
            uncertainty=columns,
        )
        batch = {name: torch.from_numpy(array)[None] for name, array in state.items()}
        with torch.inference_mode():
            values = network(batch)[0][0].numpy()
        mask = _with_label(candidates, state["mask"] > 0, pattern[len(chosen) : len(chosen) + 1])
        action = int(np.where(mask, values, -np.inf).argmax())
        if action == len(indices):
            break
        chosen.append(action)
        scores.append(float(values[action]))
    return Selection(tuple(indices[place] for place in chosen), tuple(scores))


def _with_label(candidates: CandidateSet, mask: npt.NDArray[np.bool_], wanted: Sequence[str]) -> npt.NDArray[np.bool_]:
    """(K + 1,) the valid actions that show the label wanted, if one is; all valid ones where none shows it."""
    named = [candidates.label_names.index(name) for name in wanted if name in candidates.label_names]
    having = mask & np.append(candidates.label_columns[:, named].any(axis=1), False)
    return having if having.any() else mask


class CorpusSelector:
    """Shows every query the set that an exported policy chooses.

    Over the pool it was trained on, and with as many demonstrations, this is the best prompt that the training has seen
    valued, where the artifact holds one; else the policy chooses, from that pool among the candidates it was trained
    with, from any other among all members. Where the policy knows labels by name, the pool has those of the best prompt
    and as many demonstrations are wanted, it takes ones of these labels in their order, which is what pools have in
    common. A query that is a member of the set, or duplicates one, gets the set that the policy chooses without that
    member.

    Args:
        artifact: The policy.
        pool: The pool to choose from.
        encoder: Embeds demonstrations; that of the artifact.
        engine: The engine over the same pool, where the policy reads the language model or has a token budget.
        task_queries: Queries, labelled or not, of a task that the policy was not trained on; else the training task's
            stand for the task.

    Raises:
        ArtifactError: When the artifact names candidates that its own pool has not.
        UsageError: When the policy needs an engine and there is none, or it has another pool.
    """

    def __init__(
        self,
        artifact: CorpusArtifact,
        pool: Pool,
        encoder: TextEncoder,
        *,
        engine: InferenceEngine | None = None,
        task_queries: Sequence[Query] = (),
    ) -> None:
        if artifact.needs_engine and engine is None:
            raise UsageError(
                "the policy reads the language model or counts its tokens, and there is none",
                expected="an engine",
                remedy="Pass engine=..., or train a policy without lm_features and token_budget.",
            )
        if engine is not None and engine.pool.fingerprint != pool.fingerprint:
            raise UsageError("the engine has another pool", expected="one pool", remedy="Build the engine over it.")
        self.artifact = artifact
        self.encoder = encoder
        self.task_queries = tuple(task_queries)
        self._pool = pool
        if self._is_known and max(artifact.manifest.candidates, default=0) >= len(pool):
            raise ArtifactError(
                f"{artifact.folder} names candidates beyond the {len(pool)} examples of its pool",
                expected="positions in the pool",
                remedy="Copy or export it again.",
            )
        self._engine = engine if artifact.needs_engine else None
        labelled = artifact.manifest.labelled_demonstrations
        self._nearest = NearestSelector(pool, encoder, labelled_demonstrations=labelled)
        asks, learned = self._nearest.query_encoder, artifact.network.task.numpy()
        self._task = embed_task(task_queries, asks) if task_queries else learned
        self._described: dict[tuple[int, ...], tuple[CandidateSet, LabelUncertainty | None]] = {}
        self._chosen: dict[tuple[int, frozenset[int]], Selection] = {}
        prompt = artifact.manifest.prompt
        if prompt is not None and self._is_known and not task_queries:  # it was valued for this pool, under this task
            self._chosen[artifact.manifest.shots, frozenset()] = Selection.of(*prompt)

    @classmethod
    def load(
        cls,
        folder: Path | str,
        pool: Pool,
        *,
        force: bool = False,
        encoder: TextEncoder | None = None,
        engine: Callable[[], InferenceEngine] | None = None,
        task_queries: Sequence[Query] = (),
    ) -> CorpusSelector:
        """Loads an artifact.

        Args:
            folder: A folder written by `shotsmith export`.
            pool: The pool to choose from.
            force: Whether a pool, encoder, template or language model other than the artifact's is taken.
            encoder: An encoder that is loaded already; by default the artifact's own is.
            engine: Gives the engine; called only where the policy reads the language model or has a token budget.
            task_queries: Queries of a task that the policy was not trained on; see the class.

        Returns:
            The selector.

        Raises:
            ArtifactError: When the artifact is missing, damaged, of another version or of another kind.
            ArtifactMismatchError: When pool or encoder, or template or language model of an engine that the policy
                needs, differ from the artifact's and `force` is off.
            ModelLoadError: When its encoder cannot be loaded.
            UsageError: When the policy needs an engine and there is none, or it has another pool.
        """
        artifact = read_corpus_artifact(folder)
        encoder = fitting_encoder(artifact, pool, encoder, force=force)
        asked = engine() if engine is not None and artifact.needs_engine else None
        selector = cls(artifact, pool, encoder, engine=asked, task_queries=task_queries)
        if asked is not None:
            selector.check_engine(asked, force=force)
        return selector

    def check_engine(self, engine: InferenceEngine, *, force: bool = False) -> None:
        """Makes sure that answers come from the template and language model that the policy was trained for.

        Args:
            engine: The engine that will answer.
            force: Whether others are taken.

        Raises:
            ArtifactMismatchError: When they differ and `force` is off.
        """
        require_engine(self.artifact.manifest, engine, force=force)

    def select(self, queries: Sequence[Query], k: int) -> list[Selection]:
        """Gives every query the one set of up to k; see `Selector.select`.

        Args:
            queries: N queries.
            k: Demonstrations for each; may differ from what the policy was trained for.

        Returns:
            N selections; fewer than k demonstrations where the policy may stop and does, or where its limits for labels
            or tokens leave no other candidate.

        Raises:
            TooFewExamplesError: When the pool without a query and its duplicates holds fewer than k.
        """
        for query in queries:
            require_enough(self._pool, query, k)
        return [self._for_query(query, k) for query in queries]

    def _for_query(self, query: Query, k: int) -> Selection:
        own = self._pool.duplicates_of(query)
        shared = self._set(k, frozenset())
        return self._set(k, own) if own & set(shared.indices) else shared

    def _set(self, k: int, excluded: frozenset[int]) -> Selection:
        if (k, excluded) not in self._chosen:
            candidates, uncertainty = self._candidates(self._positions(k, excluded))
            self._chosen[k, excluded] = greedy_set(
                self.artifact.network,
                candidates,
                horizon=k,
                may_stop=self.artifact.manifest.may_stop,
                excluded=excluded,
                constraints=self.artifact.manifest.constraints,
                uncertainty=uncertainty,
                pattern=self._pattern(k),
            )
        return self._chosen[k, excluded]

    def _pattern(self, k: int) -> tuple[str, ...]:
        """The labels of the kept prompt, where as many demonstrations are wanted and the pool has all of them."""
        manifest = self.artifact.manifest
        fits = k == manifest.shots and {*manifest.prompt_labels} <= {*self._pool.labels}
        return manifest.prompt_labels if fits else ()

    @property
    def _is_known(self) -> bool:
        """Whether the pool is that of the training."""
        return self.artifact.manifest.fingerprints.get("pool") == self._pool.fingerprint

    def _positions(self, k: int, excluded: frozenset[int]) -> tuple[int, ...]:
        """The candidates of training where they still stand for what they were and suffice; else of the whole pool."""
        manifest = self.artifact.manifest
        if self._is_known:
            left = [position for position in manifest.candidates if position not in excluded]
            if len(left) >= max(k, 1):
                return manifest.candidates
        drawn = draw_candidates(self._pool, max(MOST_CANDIDATES, k + len(excluded)), seed=0)
        return showing_labels(self._pool, drawn, self._pattern(k), excluded=excluded)

    def _candidates(self, positions: tuple[int, ...]) -> tuple[CandidateSet, LabelUncertainty | None]:
        if positions not in self._described:
            artifact, engine = self.artifact, self._engine
            counts = None if engine is None or artifact.manifest.token_budget is None else engine.demonstration_tokens
            made = build_candidate_set(
                self._pool,
                self._nearest.rows,
                self._task,
                positions,
                token_counts=counts,
                label_names=artifact.manifest.label_names,
            )
            reader = None
            if engine is not None and artifact.asks_language_model:
                reader = LabelUncertainty(engine, made.shortlist.indices)
            self._described[positions] = made, reader
        return self._described[positions]
