"""The pool examples that the language model is least sure of (max-entropy; Zhang, Feng & Tan, 2022). One set for all.

An active-learning baseline: what the model cannot label by itself may be worth showing. Gold labels are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from selector.inference.engine import InferenceEngine
from selector.learned.candidate_set import draw_candidates
from selector.ordering.entropy import entropy
from selector.progress import SILENT, Progress
from selector.strategies.judging import Numbers, ask_options
from selector.strategies.shared import SharedSetSelector
from selector.types import Selection

MOST_ASKED: Final = 2000  # of a larger pool this many are drawn: each of them is scored by the language model


class MaxEntropySelector(SharedSetSelector):
    """Shows every query the examples whose predicted labels have the highest entropy, the most uncertain last.

    Args:
        engine: Gives the distributions over labels.
        sequential: Asks again behind those already picked, as published, which costs k times as much; else every
            example is asked once, without demonstrations.
        progress: Shows how many examples are asked.
    """

    def __init__(self, engine: InferenceEngine, *, sequential: bool = False, progress: Progress = SILENT) -> None:
        super().__init__(engine.pool)
        engine.require_label_scores("the method max-entropy")
        self._engine = engine
        self._sequential = sequential
        self._progress = progress
        self._uncertainty: dict[tuple[int, ...], dict[int, float]] = {}

    def uncertainty(self, behind: Sequence[int] = ()) -> dict[int, float]:
        """Gives the entropy of the predicted label of pool examples.

        Args:
            behind: Pool positions of demonstrations, in prompt order.

        Returns:
            Pool position to nats, the highest first; without those shown and their duplicates.

        Raises:
            UsageError: When targets are free text.
        """
        shown = tuple(behind)
        if shown not in self._uncertainty:
            hidden = frozenset().union(*(self._pool.duplicates_of(self._pool[position]) for position in shown))
            drawn = draw_candidates(self._pool, MOST_ASKED, seed=0)
            asked = [position for position in drawn if position not in hidden]
            values = np.round(self._entropies(asked, Selection.of(*shown)), 9)
            order = np.argsort(-values, kind="stable")
            self._uncertainty[shown] = {asked[at]: float(values[at]) for at in order}
        return self._uncertainty[shown]

    def _entropies(self, asked: Sequence[int], shown: Selection) -> Numbers:
        if not asked:
            return np.zeros(0)
        with self._progress.track("max-entropy", len(asked)) as advance:
            queries = [self._pool[position] for position in asked]
            rows = ask_options(queries, [[shown]] * len(queries), self._engine.probabilities, advance=advance)
        # One by one: where queries have choices of their own, rows are of unlike length.
        return np.concatenate([entropy(own) for own in rows])

    def _choose(self, k: int) -> Selection:
        picked: dict[int, float] = {}  # first picked first
        while len(picked) < k:
            ranked = self.uncertainty(tuple(picked) if self._sequential else ())
            new = [(position, value) for position, value in ranked.items() if position not in picked]
            if not new:  # duplicates of those picked, or what was not drawn, are all that is left
                new = [(position, 0.0) for position in range(len(self._pool)) if position not in picked]
            picked.update(new[: 1 if self._sequential else k - len(picked)])
        order = list(picked) if self._sequential else list(picked)[::-1]
        return Selection(tuple(order), tuple(picked[position] for position in order))

    def _spares(self, k: int) -> Iterable[tuple[int, float]]:
        del k
        return self.uncertainty().items()
