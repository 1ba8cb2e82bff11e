"""The candidates for one prompt that serves a whole task, and what is known of each before any is chosen.

A trait speaks of a candidate as a member of its pool, in shares of the pool and of its nearest neighbours, so it means
the same in a pool of another size. Knows embeddings, labels and lengths; asks no language model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from selector.data.pool import Pool
from selector.errors import TooFewExamplesError
from selector.learned.shortlist import Shortlist, TokenCounts
from selector.prompting.embedding_text import input_text
from selector.retrieval.encoder import TextEncoder
from selector.types import Query

TRAITS: Final = (
    "typicality",  # share of the pool that is less similar to the task
    "length",  # share of the pool whose inputs are shorter
    "label_share",  # share of the pool with the candidate's label
    "agreement",  # share of the nearest neighbours with the candidate's label
    "ambiguity",  # entropy of the labels among them, as a share of the largest possible
)
NEIGHBOURS: Final = 8
ROWS_AT_ONCE: Final = 512  # of the similarity matrix, which a large pool would not fit into memory whole
Rows = npt.NDArray[np.float32]


@dataclass(frozen=True)
class CandidateSet:
    """K candidates for the prompt of a task, the most similar to the task first.

    Attributes:
        shortlist: The candidates; in place of a query's stands the task's embedding.
        traits: (K, T) float32; see `TRAITS`.
        label_count: L, how many labels the pool has.
        label_names: N labels that are known by name; none where labels count only as same or different.
        named: (K, N) float32, 1 where the candidate has that label; None stands for no column.
    """

    shortlist: Shortlist
    traits: Rows
    label_count: int
    label_names: tuple[str, ...] = ()
    named: Rows | None = None

    def __len__(self) -> int:
        return len(self.shortlist)

    def label_pattern(self, indices: Sequence[int]) -> tuple[str, ...]:
        """Names the labels of some candidates.

        Args:
            indices: Their pool positions, in prompt order.

        Returns:
            The labels in that order; none where one of them is not known by name.
        """
        rows = self.label_columns[[self.shortlist.indices.index(index) for index in indices]]
        known = bool(len(indices)) and bool(rows.any(axis=1).all())
        return tuple(self.label_names[place] for place in rows.argmax(axis=1)) if known else ()

    @property
    def label_columns(self) -> Rows:
        """(K, N) float32, 1 where the candidate has the label of that name."""
        return np.zeros((len(self), 0), dtype=np.float32) if self.named is None else self.named


def embed_task(queries: Sequence[Query], encoder: TextEncoder) -> Rows:
    """Gives the mean embedding of a task's queries, which stands for the task where there is no single query.

    Args:
        queries: Queries; their labels are not looked at.
        encoder: Embeds queries.

    Returns:
        (D,) float32 of unit norm.

    Raises:
        TooFewExamplesError: When there is no query.
    """
    if not queries:
        raise TooFewExamplesError(available=0, wanted=1, what="queries of the task")
    mean = encoder.encode([input_text(query) for query in queries]).mean(axis=0)
    unit: Rows = (mean / max(float(np.linalg.norm(mean)), 1e-9)).astype(np.float32)
    return unit


def draw_candidates(pool: Pool, count: int, *, seed: int) -> list[int]:
    """Draws members of a pool without replacement.

    Args:
        pool: The pool.
        count: How many at most; a smaller pool is taken whole.
        seed: Seeds the draw.

    Returns:
        Positions, ascending.
    """
    if count >= len(pool):
        return list(range(len(pool)))
    drawn = np.random.default_rng(seed).choice(len(pool), count, replace=False)
    return [int(position) for position in np.sort(drawn)]


def showing_labels(
    pool: Pool, positions: Sequence[int], labels: Sequence[str], *, excluded: Collection[int] = ()
) -> tuple[int, ...]:
    """Adds to members of a pool the first others that show labels which chance left out.

    Args:
        pool: The pool.
        positions: K distinct positions.
        labels: Labels that shall be shown, each as often as it is named, as far as the pool can.
        excluded: Positions that neither count nor are added.

    Returns:
        Positions, ascending.
    """
    shown = {*positions}
    for label, wanted in Counter(labels).items():
        having = [place for place, example in enumerate(pool) if example.label == label and place not in excluded]
        lacking = wanted - len(shown.intersection(having))
        shown.update([place for place in having if place not in shown][: max(lacking, 0)])
    return tuple(sorted(shown))


def build_candidate_set(
    pool: Pool,
    rows: Rows,
    task: Rows,
    positions: Sequence[int],
    *,
    token_counts: TokenCounts | None = None,
    label_names: Sequence[str] = (),
) -> CandidateSet:
    """Describes candidates as members of their pool.

    Args:
        pool: The pool of P examples.
        rows: (P, D) their embeddings, of unit norm.
        task: (D,) what stands for the task; see `embed_task`.
        positions: K distinct positions, in any order.
        token_counts: Counts the tokens of candidates; None leaves them uncounted.
        label_names: Labels to know by name, whether the pool has them or not.

    Returns:
        The candidates.
    """
    similarities = rows @ task  # (P,)
    order = np.array(positions, dtype=np.int64)
    order = order[np.argsort(-similarities[order], kind="stable")]
    places = {label: place for place, label in enumerate(pool.labels)}
    labels = np.array([places[str(example.label)] for example in pool], dtype=np.int64)  # (P,)
    lengths = np.array([len(input_text(example)) for example in pool])
    agreement, ambiguity = _neighbourhoods(rows, labels, order, label_count=len(pool.labels))
    columns = (
        _share_below(similarities, order),
        _share_below(lengths, order),
        (np.bincount(labels) / len(pool))[labels[order]],
        agreement,
        ambiguity,
    )
    indices = tuple(map(int, order))
    own = Shortlist(
        indices=indices,
        query=task.astype(np.float32),
        candidates=rows[order],
        similarities=similarities[order].astype(np.float32),
        labels=labels[order],
        tokens=None if token_counts is None else np.array(token_counts(indices), dtype=np.int64),
    )
    named = np.array([[pool[index].label == name for name in label_names] for index in indices], dtype=np.float32)
    return CandidateSet(
        own,
        np.stack(columns, axis=1).astype(np.float32),
        len(pool.labels),
        tuple(label_names),
        named.reshape(len(indices), len(label_names)),
    )


def _share_below(values: npt.NDArray[np.generic], order: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """(K,) share of the other members whose value is smaller."""
    below = np.searchsorted(np.sort(values), values[order], side="left")
    share: npt.NDArray[np.float64] = below / max(len(values) - 1, 1)
    return share


def _neighbourhoods(
    rows: Rows, labels: npt.NDArray[np.int64], order: npt.NDArray[np.int64], *, label_count: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(K,) agreement and (K,) ambiguity of the labels of each candidate's nearest neighbours in the pool."""
    count = min(NEIGHBOURS, len(rows) - 1)
    agreement, ambiguity = np.zeros(len(order)), np.zeros(len(order))
    if not count:
        return agreement, ambiguity
    largest = np.log(max(min(count, label_count), 2))
    for start in range(0, len(order), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        own = order[part]
        similarities = rows[own] @ rows.T  # (part, P)
        similarities[np.arange(len(own)), own] = -np.inf
        nearest = labels[np.argpartition(-similarities, count - 1, axis=1)[:, :count]]  # (part, count)
        agreement[part] = (nearest == labels[own][:, None]).mean(axis=1)
        # The share of a neighbour's label among the neighbours, averaged over them in logarithm, is minus the entropy.
        shares = (nearest[:, :, None] == nearest[:, None, :]).mean(axis=2)
        ambiguity[part] = -np.log(shares).mean(axis=1) / largest
    return agreement, ambiguity
