"""An exported policy as a selector: greedy choices by the pointer network, or the best of a beam.

The learner is not needed and not imported. The language model is needed only by a policy that was trained to look at
states with it; a token budget needs its tokenizer, or counts from elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from selector.data.pool import Pool
from selector.errors import UsageError
from selector.inference.engine import InferenceEngine
from selector.learned.artifact import Artifact, read_artifact
from selector.learned.lm_features import EngineReader
from selector.learned.rollout import beam_rollout
from selector.learned.shortlist import TokenCounts, build_shortlists
from selector.retrieval.encoder import TextEncoder
from selector.strategies.dense import NearestSelector
from selector.strategies.fitting import fitting_encoder, require_engine
from selector.types import Query, Selection


class LearnedSelector:
    """Chooses with an exported policy.

    Args:
        artifact: The policy.
        pool: The pool to choose from.
        encoder: Embeds queries and demonstrations; that of the artifact.
        engine: Over the same pool; needed by a policy with features of the language model.
        token_counts: Counts the tokens of demonstrations for a policy with a token budget; by default the engine does.
        beams: How many beginnings of a prompt are followed; 1 is greedy.
        shortlist_size: How many nearest candidates each query is offered, never fewer than demonstrations are wanted;
            None takes as many as in training.

    Attributes:
        nearest: Finds the candidates of a query.

    Raises:
        UsageError: When the policy needs an engine or token counts and has none, the engine has another pool, or there
            is no beam or no candidate.
    """

    def __init__(
        self,
        artifact: Artifact,
        pool: Pool,
        encoder: TextEncoder,
        *,
        engine: InferenceEngine | None = None,
        token_counts: TokenCounts | None = None,
        beams: int = 1,
        shortlist_size: int | None = None,
    ) -> None:
        if beams < 1 or (shortlist_size is not None and shortlist_size < 1):
            raise UsageError(
                f"beams is {beams} and the shortlist size {shortlist_size}",
                expected="1 or more of both",
                remedy="Choose other numbers.",
            )
        if engine is not None and engine.pool.fingerprint != pool.fingerprint:
            raise UsageError("the engine has another pool", expected="one pool", remedy="Build the engine over it.")
        if token_counts is None and engine is not None:
            token_counts = engine.demonstration_tokens
        _require_what_it_needs(artifact, engine, token_counts)
        self.artifact = artifact
        self.encoder = encoder
        self.beams = beams
        self.shortlist_size = shortlist_size
        self._engine = engine if artifact.asks_language_model else None
        self._token_counts = token_counts if artifact.manifest.token_budget is not None else None
        self.nearest = NearestSelector(
            pool,
            encoder,
            labelled_demonstrations=artifact.manifest.labelled_demonstrations,
        )

    @classmethod
    def load(
        cls,
        folder: Path | str,
        pool: Pool,
        *,
        force: bool = False,
        encoder: TextEncoder | None = None,
        engine: Callable[[], InferenceEngine] | None = None,
        token_counts: TokenCounts | None = None,
        beams: int = 1,
        shortlist_size: int | None = None,
    ) -> LearnedSelector:
        """Loads an artifact.

        Args:
            folder: A folder written by `shotsmith export`.
            pool: The pool to choose from.
            force: Whether a pool, encoder, template or language model other than the artifact's is taken.
            encoder: An encoder that is loaded already; by default the artifact's own is.
            engine: Gives the engine, over the same pool; called only where the policy looks at states with the language
                model, or has a token budget and no token counts.
            token_counts: Counts the tokens of demonstrations for a policy with a token budget; by default the engine
                does.
            beams: How many beginnings of a prompt are followed; 1 is greedy.
            shortlist_size: How many nearest candidates each query is offered; see the class.

        Returns:
            The selector.

        Raises:
            ArtifactError: When the artifact is missing, damaged or of another version.
            ArtifactMismatchError: When pool or encoder, or template or language model of an engine that the policy
                needs, differ from the artifact's and `force` is off.
            ModelLoadError: When its encoder cannot be loaded.
            UsageError: When the policy needs an engine or token counts and has none, the engine has another pool, or
                there is no beam or no candidate.
        """
        artifact = read_artifact(folder)
        encoder = fitting_encoder(artifact, pool, encoder, force=force)
        counts = artifact.manifest.token_budget is not None and token_counts is None
        asked = engine() if engine is not None and (artifact.asks_language_model or counts) else None
        selector = cls(
            artifact,
            pool,
            encoder,
            engine=asked,
            token_counts=token_counts,
            beams=beams,
            shortlist_size=shortlist_size,
        )
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
        """Chooses up to k for each query, the last choice next to it; see `Selector.select`.

        Args:
            queries: N queries.
            k: Demonstrations for each; may differ from what the policy was trained for.

        Returns:
            N selections; fewer than k demonstrations where the policy may stop and does, or where its limits for labels
            or tokens leave no other candidate.

        Raises:
            TooFewExamplesError: When the pool without the query and its duplicates holds fewer than k.
        """
        manifest = self.artifact.manifest
        size = max(self.shortlist_size or manifest.shortlist_size, k)
        shortlists = build_shortlists(
            queries,
            self.nearest,
            size,
            at_least=k,
            per_label=manifest.per_label,
            token_counts=self._token_counts,
        )
        reader = None if self._engine is None else EngineReader(self._engine, queries, view=self.artifact.view)
        return beam_rollout(
            self.artifact.network,
            shortlists,
            size=size,
            horizon=k,
            may_stop=manifest.may_stop,
            beams=self.beams,
            constraints=manifest.constraints,
            reader=reader,
        )


def _require_what_it_needs(
    artifact: Artifact, engine: InferenceEngine | None, token_counts: TokenCounts | None
) -> None:
    budget = artifact.manifest.token_budget
    if artifact.asks_language_model and engine is None:
        raise UsageError(
            "the policy looks at states with the language model, and there is no engine",
            expected="an engine over the task's language model, template and pool",
            remedy="Pass engine=..., or train a policy without lm_features.",
        )
    if budget is not None and engine is None and token_counts is None:
        raise UsageError(
            f"the policy has a token budget of {budget}, and nothing counts tokens",
            expected="an engine or token counts",
            remedy="Pass engine=... or token_counts=..., or train a policy without token_budget.",
        )
