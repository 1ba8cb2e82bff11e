"""What the report's script reads: confusion counts, and a sample of queries with what each method showed and answered.

Every demonstration is written once, however often it was chosen. This module knows neither markup nor the page.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from selector.evaluation.compare import Comparison, QueryOutcome, Row
from selector.evaluation.confusion import confusion_counts, label_names
from selector.evaluation.curves import method_names
from selector.prompting.embedding_text import input_text
from selector.types import Example

SHOWN_QUERIES = 200
LONGEST_TEXT = 1500  # characters of a query or demonstration
LARGEST_SAMPLE = 3_000_000  # characters: a page of some megabytes still opens at once


def report_data(
    comparisons: Sequence[Comparison], pool: Sequence[Example], queries: Sequence[Example]
) -> dict[str, Any]:
    """Collects what the script shows.

    Args:
        comparisons: Of the same queries, ascending in shots.
        pool: Where demonstrations came from; members of all pools.
        queries: The queries, in the order compared.

    Returns:
        What JSON can write: "methods" and "labels" by name, everywhere else by number; "demonstrations" and "queries"
        as pairs of label and text; "runs", one for each number of shots.
    """
    texts = {example.uid: input_text(example) for example in pool}
    sample = _sample(comparisons, texts, queries)
    labels = label_names([row for own in comparisons for row in own.rows])
    numbers = {name: number for number, name in enumerate(method_names(comparisons))}
    shown: dict[str, int] = {}
    runs = {str(own.shots): _run(own, sample, labels, numbers=numbers, shown=shown) for own in comparisons}
    gold = {example.uid: example.label for example in pool}
    return {
        "methods": list(numbers),
        "labels": labels,
        "demonstrations": [[gold[uid], _cut(texts[uid])] for uid in shown],
        "queries": [[queries[place].label, _cut(input_text(queries[place]))] for place in sample],
        "runs": runs,
    }


def inline_json(content: Mapping[str, Any]) -> str:
    """Writes JSON that can stand inside a script element.

    Args:
        content: What JSON can write.

    Returns:
        JSON without a character that could end the element or begin another.
    """
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def spread(count: int, wanted: int) -> list[int]:
    """Chooses positions evenly over a sequence, since rows of a file may be sorted by label.

    Args:
        count: Its length.
        wanted: How many at most.

    Returns:
        Ascending positions, the first of them 0.
    """
    taken = min(count, wanted)
    return [place * count // taken for place in range(taken)]


def first_runs(comparison: Comparison) -> dict[str, Row]:
    """Finds the run of each method that is shown query by query.

    Args:
        comparison: The comparison.

    Returns:
        Method to its run with the first pool and seed; methods best first.
    """
    runs: dict[str, Row] = {}
    for row in comparison.rows:
        runs.setdefault(row.method, row)
    return {entry.method: runs[entry.method] for entry in comparison.summary}


def _sample(comparisons: Sequence[Comparison], texts: Mapping[str, str], queries: Sequence[Example]) -> list[int]:
    """As many queries as fit the page with all their demonstrations."""
    wanted = SHOWN_QUERIES
    while True:
        sample = spread(len(queries), wanted)
        uids = {
            uid
            for own in comparisons
            for row in first_runs(own).values()
            for place in sample
            for uid in row.outcomes[place].demonstrations
        }
        size = sum(min(len(texts[uid]), LONGEST_TEXT) for uid in uids)
        size += sum(min(len(input_text(queries[place])), LONGEST_TEXT) for place in sample)
        if size <= LARGEST_SAMPLE or wanted == 1:
            return sample
        wanted //= 2


def _run(
    comparison: Comparison,
    sample: Sequence[int],
    labels: Sequence[str],
    *,
    numbers: Mapping[str, int],
    shown: dict[str, int],
) -> dict[str, Any]:
    """One number of shots; `shown` gives every demonstration its number and grows."""
    place_of = {label: place for place, label in enumerate(labels)}
    runs = first_runs(comparison)
    confusion = {}
    for name in runs if labels else ():
        outcomes = [outcome for row in comparison.rows if row.method == name for outcome in row.outcomes]
        counts = confusion_counts(outcomes)
        confusion[numbers[name]] = [[place_of[gold], place_of[own], count] for (gold, own), count in counts.items()]
    return {
        "methods": [numbers[name] for name in runs],
        "recommended": numbers[next(iter(runs)) if comparison.verdict is None else comparison.verdict.recommended],
        "confusion": confusion,
        "answers": [[_answer(row.outcomes[place], shown) for row in runs.values()] for place in sample],
    }


def _answer(outcome: QueryOutcome, shown: dict[str, int]) -> list[Any]:
    """The answer, whether it is right, its probability and that of the gold label, and the demonstrations."""
    chances = [outcome.probabilities.get(label) for label in (outcome.predicted, outcome.gold)]
    rounded = [None if chance is None else round(chance, 3) for chance in chances]
    demonstrations = [shown.setdefault(uid, len(shown)) for uid in outcome.demonstrations]
    return [outcome.predicted, int(outcome.correct), *rounded, demonstrations]


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}… ({len(text) - LONGEST_TEXT:,} more)"
