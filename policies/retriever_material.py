"""What a retriever is trained on and what judges it: mined lists, members of the pool by label, held-out queries.

This module knows no trainer; it measures an encoder as it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from policies.label_rule import TrainingQuery, candidates_by_label, split_by_label, split_candidates
from policies.mined import MinedQuery, MiningHeader, merged
from policies.mined_storage import read_header, read_mined
from policies.retriever_config import RetrieverTrainingConfig
from policies.retriever_metrics import label_agreement, label_votes, pair_accuracy
from selector.data.pool import Pool
from selector.errors import DataFileError
from selector.prompting.embedding_text import input_text
from selector.retrieval.encoder import SentenceEncoder, weights_fingerprint
from selector.types import Example

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

COMPARABLE = frozenset(("template", "lm", "scoring", "calibration", "context"))  # what scores depend on
CONTEXT = frozenset(("recall", "candidates", "seed"))  # what else they depend on where a context stands before them
JUDGED = 20_000  # members of the pool among which dev's neighbours are looked for, at most: dev judges several times
HELD_OUT = 10  # one mined query in so many is kept from training where no dev set can judge


@dataclass(frozen=True)
class TrainingMaterial:
    """What is trained on and what judges.

    Attributes:
        scored: Queries with the language model's scores.
        unscored: Queries whose scores are labels.
        held_out: Scored queries kept from training.
        dev: Labelled examples for the label vote.
        judged: Among whom their neighbours are looked for: the pool, or a sample of a large one.
        agreement: How far the language model's scores and the labels agree, by name.
        views: The encoders that were measured first and last, by the fingerprint of their weights: what they have
            embedded is not embedded again when the same weights are measured once more.
    """

    scored: list[TrainingQuery]
    unscored: list[TrainingQuery]
    held_out: list[TrainingQuery]
    dev: list[Example]
    judged: Pool
    agreement: dict[str, float]
    views: dict[str, SentenceEncoder] = field(default_factory=dict)

    def counted(self) -> dict[str, float]:
        """How much there is, and how far the language model's scores and the labels agree."""
        counts = {"mined_queries": float(len(self.scored)), "unscored_queries": float(len(self.unscored))}
        return counts | self.agreement

    def evaluator(
        self, model: SentenceTransformer, pool: Pool, config: RetrieverTrainingConfig
    ) -> Callable[[], float] | None:
        """Measures the model as it is at each call."""
        labelled = config.labelled_demonstrations

        def evaluate() -> float:
            encoder = self._view(model)
            if self.dev:
                return label_votes(encoder, self.judged, self.dev, labelled=labelled).share
            return pair_accuracy(encoder, pool, self.held_out, labelled=labelled)

        return evaluate if self.dev or self.held_out else None

    def measured(
        self, model: SentenceTransformer, pool: Pool, config: RetrieverTrainingConfig, *, suffix: str
    ) -> dict[str, float]:
        """What is measured before and after training, by name; higher is better."""
        encoder = self._view(model)
        labelled = config.labelled_demonstrations
        parts = {"mined_pair_accuracy": self.scored, "held_out_pair_accuracy": self.held_out}
        metrics = {
            f"{name}_{suffix}": pair_accuracy(encoder, pool, part, labelled=labelled)
            for name, part in parts.items()
            if part
        }
        if self.dev:
            votes = label_votes(encoder, self.judged, self.dev, labelled=labelled)
            metrics[f"dev_label_vote_accuracy_{suffix}"] = votes.accuracy
            metrics[f"dev_label_share_{suffix}"] = votes.share
        return metrics

    def _view(self, model: SentenceTransformer) -> SentenceEncoder:
        view = encoder_of(model)
        found = self.views.setdefault(view.fingerprint, view)
        for other in [*self.views][1:]:  # each holds the embeddings of all that is judged
            if other != view.fingerprint:
                del self.views[other]
        return found


def read_lines(mined: Sequence[Path], pool: Pool) -> tuple[MiningHeader | None, list[MinedQuery]]:
    """Reads mined files whose scores can be compared.

    Args:
        mined: Files or their folders.
        pool: The pool that was mined.

    Returns:
        The first header, None without files, and one line for each query, without candidates that the pool counts as
        its duplicates now, whatever counted when it was mined.

    Raises:
        DataFileError: When a file is missing, damaged, or made with another pool, template or language model.
    """
    headers: list[MiningHeader] = []
    lines: list[MinedQuery] = []
    for place in mined:
        own = read_mined(place)
        header = read_header(place if place.is_dir() else place.parent)
        if header.pool != pool.fingerprint:
            raise DataFileError(
                f"{place} was mined on a pool with fingerprint {header.pool[:12]}",
                expected=f"the pool in use, {pool.fingerprint[:12]}",
                remedy="Use the task that was mined, or mine again.",
            )
        comparable = COMPARABLE | CONTEXT if header.context else COMPARABLE
        if headers and (other := comparable & {*headers[0].differences(header)}):
            raise DataFileError(
                f"{place} was scored with another {', '.join(sorted(other))} than {mined[0]}",
                expected="scores that can be compared",
                remedy="Leave one of the two out.",
            )
        headers.append(header)
        lines += own
    return (headers[0] if headers else None), [_leave_one_out(line, pool) for line in merged(lines)]


def _leave_one_out(line: MinedQuery, pool: Pool) -> MinedQuery:
    excluded = pool.duplicates_of(line.query)
    return replace(line, candidates=tuple(one for one in line.candidates if one.position not in excluded))


def gather(
    lines: Sequence[MinedQuery],
    model: SentenceTransformer,
    pool: Pool,
    *,
    dev: Sequence[Example],
    labels: Sequence[str],
    config: RetrieverTrainingConfig,
) -> TrainingMaterial:
    """Splits mined lists, keeps some queries for judging where dev cannot, and adds members of the pool by label.

    Args:
        lines: Mined queries, one for each query.
        model: The encoder before training; finds hard negatives for the members that are not scored.
        pool: The pool.
        dev: Labelled examples outside the pool.
        labels: The closed set of labels; empty where targets are free text.
        config: The settings.

    Returns:
        The material.

    Raises:
        DataFileError: When no query has a better and a worse candidate.
    """
    by_score = replace(config.rule, same_label=False)
    rule = config.rule if labels else by_score
    scored = [split for split in (split_candidates(line, pool, rule) for line in lines) if split is not None]
    if not scored and (lines or not (labels and config.unscored)):
        raise DataFileError(
            f"the mined file holds {len(lines)} queries and none with a better and a worse candidate",
            expected="at least one",
            remedy="Mine more queries, or more candidates for each.",
        )
    judges = [example for example in dev if example.label in labels]
    held_out = [] if judges else scored[::HELD_OUT] if len(scored) > HELD_OUT else []
    trained = scored if not held_out else [query for at, query in enumerate(scored) if at % HELD_OUT]
    unscored: list[TrainingQuery] = []
    if labels and config.unscored:
        known = {query.query.uid for query in scored}  # a mined query without a better candidate still has its label
        order = np.random.default_rng(config.seed).permutation(len(pool))
        others = [pool[int(at)] for at in order if pool[int(at)].uid not in known][: config.unscored]
        encoder = encoder_of(model)
        rows = encoder.encode([input_text(example) for example in pool])
        asked = encoder.encode([input_text(example) for example in others])
        by_label = candidates_by_label(others, pool, rows=rows, query_rows=asked, rule=rule, seed=config.seed)
        unscored = [split for split in map(split_by_label, by_label) if split is not None]
    agreement = _agreement([split_candidates(line, pool, by_score) for line in lines], pool)
    return TrainingMaterial(trained, unscored, held_out, judges, _sample(pool, config.seed), agreement)


def _agreement(splits: Sequence[TrainingQuery | None], pool: Pool) -> dict[str, float]:
    """How often what the language model alone calls good, and bad, bears its query's label."""
    known = [split for split in splits if split is not None]
    if not known:
        return {}
    return {
        "mined_positive_label_agreement": label_agreement(known, pool),
        "mined_negative_label_agreement": label_agreement(known, pool, positives=False),
    }


def _sample(pool: Pool, seed: int) -> Pool:
    if len(pool) <= JUDGED:
        return pool
    drawn = np.sort(np.random.default_rng(seed).choice(len(pool), JUDGED, replace=False))
    return Pool((pool[int(at)] for at in drawn), near_duplicates=pool.near_duplicates)


def encoder_of(model: SentenceTransformer) -> SentenceEncoder:
    """Makes a fresh view of the weights as they are now: an encoder remembers what it has embedded.

    Args:
        model: The model.

    Returns:
        The encoder.
    """
    return SentenceEncoder(model, fingerprint=weights_fingerprint(model), source="in training")
