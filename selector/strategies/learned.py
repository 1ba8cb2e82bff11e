"""An exported policy as a selector: greedy choices by the pointer network.

Neither the learner nor the language model is needed, and neither is imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from selector.data.pool import Pool
from selector.errors import ArtifactMismatchError
from selector.inference.engine import InferenceEngine
from selector.learned.artifact import Artifact, read_artifact
from selector.learned.network import PointerNetwork
from selector.learned.observation import observe
from selector.learned.shortlist import Shortlist, build_shortlists
from selector.retrieval.encoder import SentenceEncoder, TextEncoder
from selector.strategies.dense import NearestSelector
from selector.types import Query, Selection


def greedy_rollout(
    network: PointerNetwork, shortlists: Sequence[Shortlist], *, size: int, horizon: int, may_stop: bool
) -> list[Selection]:
    """Chooses the best-scored valid action until every prompt is full or stopped.

    Args:
        network: The policy.
        shortlists: N shortlists.
        size: K, to which candidates are padded.
        horizon: How many demonstrations to choose at most.
        may_stop: Whether the policy may choose fewer.

    Returns:
        N selections in the order chosen; a score is the action's log-probability, nats.
    """
    chosen: list[list[int]] = [[] for _ in shortlists]
    scores: list[list[float]] = [[] for _ in shortlists]
    running = [number for number, shortlist in enumerate(shortlists) if horizon and len(shortlist)]
    while running:
        states = [
            observe(shortlists[number], chosen[number], size=size, horizon=horizon, may_stop=may_stop)
            for number in running
        ]
        batch = {name: torch.from_numpy(np.stack([state[name] for state in states])) for name in states[0]}
        with torch.inference_mode():
            logits = network(batch)[0].masked_fill(batch["mask"] == 0, -torch.inf).log_softmax(dim=-1).numpy()
        actions = logits.argmax(axis=1)
        for number, action, row in zip(list(running), actions, logits, strict=True):
            if action < size:
                chosen[number].append(int(action))
                scores[number].append(float(row[action]))
            if action == size or len(chosen[number]) == min(horizon, len(shortlists[number])):
                running.remove(number)
    return [
        Selection(tuple(shortlist.indices[place] for place in places), tuple(own))
        for shortlist, places, own in zip(shortlists, chosen, scores, strict=True)
    ]


class LearnedSelector:
    """Chooses with an exported policy.

    Args:
        artifact: The policy.
        pool: The pool to choose from.
        encoder: Embeds queries and demonstrations; that of the artifact.
    """

    def __init__(self, artifact: Artifact, pool: Pool, encoder: TextEncoder) -> None:
        self.artifact = artifact
        self.encoder = encoder
        self._nearest = NearestSelector(
            pool,
            encoder,
            labelled_demonstrations=artifact.manifest.labelled_demonstrations,
            query_encoder=encoder.for_queries() if isinstance(encoder, SentenceEncoder) else None,
        )

    @classmethod
    def load(
        cls, folder: Path | str, pool: Pool, *, force: bool = False, encoder: TextEncoder | None = None
    ) -> LearnedSelector:
        """Loads an artifact.

        Args:
            folder: A folder written by `shotsmith export`.
            pool: The pool to choose from.
            force: Whether a pool or encoder other than the artifact's is taken.
            encoder: An encoder that is loaded already; by default the artifact's own is.

        Returns:
            The selector.

        Raises:
            ArtifactError: When the artifact is missing, damaged or of another version.
            ArtifactMismatchError: When pool or encoder differ from the artifact's and `force` is off.
            ModelLoadError: When its encoder cannot be loaded.
        """
        artifact = read_artifact(folder)
        if not force:
            _same("pool", artifact, pool.fingerprint, "Pass force=True (--force) to choose from the changed pool.")
        encoder = encoder or SentenceEncoder.load(artifact.encoder_source)
        if not force:
            _same("encoder", artifact, encoder.fingerprint, "Use the encoder that the policy was trained with.")
        return cls(artifact, pool, encoder)

    def check_engine(self, engine: InferenceEngine, *, force: bool = False) -> None:
        """Makes sure that answers come from the template and language model that the policy was trained for.

        Args:
            engine: The engine that will answer.
            force: Whether others are taken.

        Raises:
            ArtifactMismatchError: When they differ and `force` is off.
        """
        if not force:
            remedy = "Use the task it was trained on, or pass --force."
            _same("template", self.artifact, engine.template.fingerprint, remedy)
            _same("language model", self.artifact, engine.lm.fingerprint, remedy)

    def select(self, queries: Sequence[Query], k: int) -> list[Selection]:
        """Chooses up to k for each query, the last choice next to it; see `Selector.select`.

        Args:
            queries: N queries.
            k: Demonstrations for each; may differ from what the policy was trained for.

        Returns:
            N selections; fewer than k demonstrations where the policy may stop and does.

        Raises:
            TooFewExamplesError: When the pool without the query and its duplicates holds fewer than k.
        """
        manifest = self.artifact.manifest
        size = max(manifest.shortlist_size, k)
        shortlists = build_shortlists(queries, self._nearest, size, at_least=k)
        return greedy_rollout(self.artifact.network, shortlists, size=size, horizon=k, may_stop=manifest.may_stop)


def _same(part: str, artifact: Artifact, present: str, remedy: str) -> None:
    wanted = artifact.manifest.fingerprints.get(part, "")
    if wanted != present:
        raise ArtifactMismatchError(part=part, artifact=wanted, present=present, remedy=remedy)
