"""What each demonstration does to an answer: without it, with another label, at another place.

Everything is asked of the one engine, in one call for all prompts. Effects are differences of the explained label's
log-probability among the labels (of the target's mean log-probability per token where targets are free text), without
batch calibration. This module knows nothing of attention or of how demonstrations were chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from selector.data.pool import Pool
from selector.errors import UnreadAnswerError, UsageError
from selector.inference.changed import changed_engine
from selector.inference.engine import InferenceEngine
from selector.types import Example, Query, Selection

MOST_FLIPS = 5


@dataclass(frozen=True)
class DemonstrationEffect:
    """One demonstration of a prompt.

    Attributes:
        uid: Of the demonstration.
        fields: Its inputs.
        label: Its label.
        influence: Log-probability with it minus without it, nats; above 0 where it speaks for the explained label.
        flips: Other label to log-probability with its own label minus with that one, nats; empty for free text. Left
            out where the longer label leaves no room for all demonstrations.
        places: Log-probability with it at each place from first to last, the others keeping their order, nats.
    """

    uid: str
    fields: Mapping[str, str]
    label: str
    influence: float
    flips: Mapping[str, float]
    places: tuple[float, ...]

    @property
    def flip(self) -> float:
        """Mean effect of its own label against the others that were tried, nats; 0 where none was."""
        return float(np.mean(list(self.flips.values()))) if self.flips else 0.0

    @property
    def best_place(self) -> int:
        """The place, from 0, at which the explained label is most probable; the first of equals."""
        return int(np.argmax(self.places))

    @property
    def place_range(self) -> float:
        """How far the log-probability moves over all places, nats."""
        return max(self.places) - min(self.places)


@dataclass(frozen=True)
class Explanation:
    """How one answer depends on its demonstrations.

    Attributes:
        query: The query.
        predicted: The engine's answer.
        explained: The label, or text, that the effects are about.
        gold: Whether that is the query's gold label; else it is the prediction.
        logprob: Of the explained label with all demonstrations, nats.
        zero_shot: The same without any, nats.
        selection: The demonstrations really shown, in prompt order.
        effects: One for each of them.
    """

    query: Query
    predicted: str
    explained: str
    gold: bool
    logprob: float
    zero_shot: float
    selection: Selection
    effects: tuple[DemonstrationEffect, ...]


def without(count: int, place: int) -> Selection:
    """Leaves a demonstration out.

    Args:
        count: k, at positions 0 to k - 1 in prompt order.
        place: Which.

    Returns:
        The others in order.
    """
    return Selection.of(*(other for other in range(count) if other != place))


def moved(count: int, place: int, target: int) -> Selection:
    """Moves a demonstration; the others keep their order.

    Args:
        count: k, at positions 0 to k - 1 in prompt order.
        place: Which.
        target: Where to.

    Returns:
        All k, with `place` at position `target`.
    """
    others = [other for other in range(count) if other != place]
    return Selection.of(*others[:target], place, *others[target:])


def explain(
    engine: InferenceEngine, query: Query, selection: Selection, *, most_flips: int = MOST_FLIPS
) -> Explanation:
    """Explains one answer.

    The query's gold label is explained where it has one, else the prediction. Where there are many labels, flips are
    tried to those that are most probable for the query; a demonstration with choices of its own is flipped to these.

    Args:
        engine: Answers.
        query: The query.
        selection: Its demonstrations in prompt order.
        most_flips: Labels that each demonstration's label is flipped to, at most.

    Returns:
        The explanation; it has no effects where no demonstration is shown.

    Raises:
        UsageError: When the template shows rationales and the query has none to be scored behind.
        UnreadAnswerError: When the query has no gold label and no answer is read in what was written.
        PromptTooLongError: When the query does not fit even without demonstrations.
        UnknownLabelError: When its gold label has no verbalizer.
    """
    if engine.template.rationales and query.rationale is None:
        raise UsageError(
            f"the template shows {{rationale}} before the answer, and query {query.uid!r} has none",
            expected="an answer that is scored right behind the query",
            remedy="Choose a task whose template has no {rationale}, or give the query a rationale.",
        )
    (fitted,) = engine.fit([query], [selection])
    # One query alone has no batch to calibrate by.
    plain = changed_engine(engine, calibration="none") if engine.calibration == "batch" else engine
    (prediction,) = plain.predict([query], [fitted])
    if query.label is None and not prediction.label:
        raise UnreadAnswerError(uid=query.uid, written=prediction.text)
    asked = replace(query, label=prediction.label) if query.label is None else query
    shown = [engine.pool[index] for index in fitted.indices]
    rivals = sorted(prediction.scores, key=lambda label: -prediction.scores[label])
    own = engine.template.multiple_choice  # then a demonstration cannot bear the label of another
    others = [list(dict.fromkeys(one.choices)) if own else rivals for one in shown]
    flips = [
        [label for label in labels if label != one.label][:most_flips]
        for one, labels in zip(shown, others, strict=True)
    ]
    logprobs = _Prompts(engine, asked, shown, flips)
    return Explanation(
        query=query,
        predicted=prediction.label,
        explained=str(asked.label),
        gold=query.label is not None,
        logprob=logprobs.whole,
        zero_shot=logprobs.nothing,
        selection=fitted,
        effects=tuple(logprobs.effect(place) for place in range(len(shown))),
    )


class _Prompts:
    """Log-probabilities of every prompt that an explanation compares, from one call."""

    def __init__(
        self, engine: InferenceEngine, query: Query, shown: Sequence[Example], flips: Sequence[Sequence[str]]
    ) -> None:
        count = len(shown)
        self._shown = shown
        flipped = {
            (place, label): count + number
            for number, (place, label) in enumerate(
                (place, label) for place, labels in enumerate(flips) for label in labels
            )
        }
        own = [replace(one, uid=f"shown-{place}") for place, one in enumerate(shown)]
        own += [replace(shown[place], uid=f"flip-{place}-{label}", label=label) for place, label in flipped]
        pool = changed_engine(engine, pool=Pool(own)) if own else engine
        # A longer label may leave no room for all demonstrations: that would be the effect of another prompt.
        tried = [self._flipped(place, at) for (place, _), at in flipped.items()]
        fits = [kept == asked for kept, asked in zip(pool.fit([query] * len(tried), tried), tried, strict=True)]
        flipped = {key: at for (key, at), fit in zip(flipped.items(), fits, strict=True) if fit}
        places = range(count)
        self._selections = [Selection.of(), Selection.of(*places)]
        self._selections += [without(count, place) for place in places]
        self._selections += [moved(count, place, target) for place in places for target in places]
        self._selections += [self._flipped(place, at) for (place, _), at in flipped.items()]
        asked = list(dict.fromkeys(self._selections))
        values = pool.gold_logprobs([query] * len(asked), asked)
        self._of = dict(zip(asked, map(float, values), strict=True))
        self._at = flipped

    @property
    def whole(self) -> float:
        return self._of[self._selections[1]]

    @property
    def nothing(self) -> float:
        return self._of[self._selections[0]]

    def effect(self, place: int) -> DemonstrationEffect:
        count, one = len(self._shown), self._shown[place]
        return DemonstrationEffect(
            uid=one.uid,
            fields=one.fields,
            label=str(one.label),
            influence=self.whole - self._of[without(count, place)],
            flips={
                label: self.whole - self._of[self._flipped(place, at)]
                for (own, label), at in self._at.items()
                if own == place
            },
            places=tuple(self._of[moved(count, place, target)] for target in range(count)),
        )

    def _flipped(self, place: int, at: int) -> Selection:
        return Selection.of(*(at if other == place else other for other in range(len(self._shown))))
