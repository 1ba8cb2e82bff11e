"""In-context influence: what an example adds to the sets it is in (Nguyen & Wong, 2023; Chang & Jia, 2023).

Random sets are judged on dev queries; an example's influence is the mean accuracy of the sets with it less that of the
sets without it. Chang & Jia's conditional accuracy is the first term alone. One set serves every query, best last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from selector.inference.engine import InferenceEngine
from selector.learned.candidate_set import draw_candidates
from selector.progress import SILENT, Progress
from selector.strategies.judging import SetJudge
from selector.strategies.shared import SharedSetSelector
from selector.types import Example, Selection

Numbers = npt.NDArray[np.float64]


def random_partitions(
    candidates: Sequence[int], size: int, *, rounds: int, generator: np.random.Generator
) -> list[tuple[int, ...]]:
    """Draws sets in which the candidates occur about equally often: each round shuffles and cuts them.

    Args:
        candidates: K distinct positions.
        size: Members of a set, at most K.
        rounds: How often each candidate occurs at least.
        generator: Draws.

    Returns:
        rounds * ceil(K / size) sets; the last of a round is filled up from that round's beginning.
    """
    sets = []
    for _ in range(rounds):
        shuffled = [int(position) for position in generator.permutation(candidates)]
        shuffled += shuffled[: -len(shuffled) % size]
        sets += [tuple(shuffled[start : start + size]) for start in range(0, len(shuffled), size)]
    return sets


def influences(candidates: Sequence[int], sets: Sequence[tuple[int, ...]], values: Numbers) -> Numbers:
    """Computes the influence of candidates on the value of the sets they are in.

    Args:
        candidates: K positions.
        sets: S sets.
        values: (S, V) what each set is worth, in V ways.

    Returns:
        (K, V) mean with the candidate less mean without it; 0 where all sets hold it or none does.
    """
    members = np.array([[candidate in one for one in map(set, sets)] for candidate in candidates], dtype=np.float64)
    counts = members.sum(axis=1, keepdims=True)  # (K, 1)
    with_it, total = members @ values, values.sum(axis=0)
    inside = with_it / np.maximum(counts, 1)
    outside = (total - with_it) / np.maximum(len(sets) - counts, 1)
    known = (counts > 0) & (counts < len(sets))
    result: Numbers = np.where(known, inside - outside, 0.0)
    return result


class InfluenceSelector(SharedSetSelector):
    """Shows every query the candidates of highest influence on dev accuracy, the most influential last.

    Where influences on accuracy tie, influence on the gold labels' log-probability decides.

    Args:
        engine: Judges the sets.
        dev: Labelled queries.
        candidates: How many pool examples are looked at, or twice k when that is more.
        rounds: In how many random sets each of them occurs at least.
        tokens: Judge as many sets as fit into so many tokens asked of the language model, instead of so many rounds.
        seed: Seeds the draws.
        progress: Shows the search.

    Raises:
        TooFewExamplesError: When there is no dev query to judge by.
    """

    def __init__(
        self,
        engine: InferenceEngine,
        dev: Sequence[Example],
        *,
        candidates: int = 32,
        rounds: int = 6,
        tokens: int | None = None,
        seed: int = 0,
        progress: Progress = SILENT,
    ) -> None:
        super().__init__(engine.pool)
        self._judge = SetJudge(engine, dev)
        self._candidates = candidates
        self._rounds = rounds
        self._tokens = tokens
        self._seed = seed
        self._progress = progress
        self._rankings: dict[int, list[tuple[int, float]]] = {}

    def ranking(self, k: int) -> list[tuple[int, float]]:
        """Ranks the candidates by their influence in sets of k.

        Args:
            k: Members of a set, 1 to the size of the pool.

        Returns:
            Pool position and influence on dev accuracy (-1 to 1), the most influential first.
        """
        if k not in self._rankings:
            candidates = draw_candidates(self._pool, max(self._candidates, 2 * k), seed=self._seed)
            sets, values = self._judged(candidates, k)
            gains = np.round(influences(candidates, sets, values), 9)  # rounding must not break ties
            order = np.lexsort((-gains[:, 1], -gains[:, 0]))
            self._rankings[k] = [(candidates[at], float(gains[at, 0])) for at in order]
        return self._rankings[k]

    def _judged(self, candidates: Sequence[int], k: int) -> tuple[list[tuple[int, ...]], Numbers]:
        """S random sets, and (S, 2) what each is worth."""
        generator = np.random.default_rng([self._seed, k])
        if self._tokens is not None:

            def endless() -> Iterator[tuple[int, ...]]:
                while True:
                    yield from random_partitions(candidates, k, rounds=1, generator=generator)

            with self._progress.track("influence, tokens", self._tokens) as advance:
                judged = self._judge.values_within(endless(), self._tokens, advance=advance)
            return [one for _, one in judged], np.array([value for value, _ in judged])
        sets = random_partitions(candidates, k, rounds=self._rounds, generator=generator)
        with self._progress.track("influence", len(sets)) as advance:
            return sets, np.array(self._judge.values(sets, advance=advance))

    def _choose(self, k: int) -> Selection:
        best = self.ranking(k)[:k][::-1]
        return Selection(tuple(position for position, _ in best), tuple(gain for _, gain in best))

    def _spares(self, k: int) -> Iterable[tuple[int, float]]:
        return self.ranking(k)[k:]
