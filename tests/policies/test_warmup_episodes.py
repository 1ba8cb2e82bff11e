"""Tests of what a warm-up learns from: episodes of tasks, and rows that plain text poses by itself."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.self_supervision import MAKERS, MASKS, self_supervised_rows, sentences_of
from policies.warmup_config import WarmUpConfig
from policies.warmup_episodes import (
    TrainingTask,
    corpus_tasks,
    documents_apart,
    draw_episode,
    labelled_tasks,
    training_text,
)
from selector.data.task import Task
from selector.errors import TooFewExamplesError, UsageError
from selector.inference.scoring import channel_requests, direct_requests
from selector.lm.prefix_tree import TokenRequest
from selector.testing import planted_examples, planted_pool, planted_template
from selector.types import Example

MILL = (
    "The old mill stood by the river for years. Nobody knew who had built the wheel. The miller sold his flour in the "
    "town on market days. One winter the ice broke the wheel in two. The miller went away with his brothers."
)
BOAT = (
    "A small boat left the harbour before the storm. Its crew had heard of the warning on the radio. Its captain "
    "turned the boat to the open sea. Waves as high as houses rolled over the deck. They came home with empty nets."
)
DOCUMENTS = [MILL, BOAT]


def by_words(prompt: str, completion: str) -> TokenRequest:
    words = len((prompt + completion).split())
    return TokenRequest(tuple(range(words)), words - len(completion.split()))


def episodes(tasks: list[TrainingTask], count: int, *, shots: int = 3, longest: int = 10_000) -> list[object]:
    generator = np.random.default_rng(5)
    return [
        draw_episode(tasks, shots=shots, form="direct", longest=longest, encode=by_words, generator=generator)
        for _ in range(count)
    ]


def test_the_learned_text_is_what_scoring_asks_about() -> None:
    """Guards against training one text and scoring another, in either form."""
    template, rows = planted_template(), planted_examples(3)
    *shown, query = rows
    gold = template.labels.index(str(query.label))
    assert training_text(template, shown, query, form="direct") == direct_requests(template, shown, query)[gold]
    assert training_text(template, shown, query, form="channel") == channel_requests(template, shown, query)[gold]


def test_tasks_are_drawn_uniformly_whatever_their_size() -> None:
    """Guards MetaICL's sampling: a task of 400 rows must not drown one of 10; by chance 1 in 10^6."""
    tasks = [TrainingTask(str(size), planted_examples(size), planted_template()) for size in (10, 400)]
    counts = Counter(one.task for one in episodes(tasks, 400))
    assert abs(counts["10"] - 200) < 50


def test_the_query_is_never_shown() -> None:
    """Guards against copying: a row that repeats the query's text would hold its answer."""
    rows = planted_examples(4)
    rows += [Example("copy", {"text": rows[0].fields["text"].upper()}, rows[0].label)]
    drawn = episodes([TrainingTask("a", rows, planted_template())], 200, shots=4)
    for one in drawn:
        *shown, query = one.uids
        assert query not in shown
        twin = {"copy": "train-0", "train-0": "copy"}.get(query)
        assert twin not in shown
    assert {one.uids[-1] for one in drawn} >= {"copy", "train-0"}


def test_long_prompts_lose_demonstrations_from_the_front() -> None:
    """Guards the window: the query and its answer are never cut; texts that cannot fit are named."""
    task = TrainingTask("a", planted_examples(10), planted_template())
    drawn = episodes([task], 20, longest=30)
    assert {len(one.uids) for one in drawn} == {2}
    assert all(len(one.request.tokens) <= 30 for one in drawn)
    with pytest.raises(UsageError, match="longest"):
        episodes([task], 1, longest=5)


def make_task(name: str, *, seed: int = 0, instruction: str = "") -> Task:
    pool = planted_pool(20, seed=seed)
    bundled = Task.load("rotten-tomatoes")
    template = replace(planted_template(), instruction=instruction)
    queries = tuple(planted_examples(6, seed=seed + 50, prefix=f"{name}-test"))
    return replace(bundled, name=name, pool=pool, reward=(), dev=(), test=queries, template=template)


def test_rows_of_held_out_tasks_are_not_learned() -> None:
    """Guards the measurement: a held-out text in a training pool makes before and after incomparable."""
    seen = make_task("seen")
    held_out = replace(make_task("other", seed=1), test=(replace(seen.pool[3], uid="elsewhere"),))
    (task,), dropped = labelled_tasks([seen], [held_out], instructions=False)
    assert dropped == {"seen": 1}
    assert seen.pool[3].fields not in [row.fields for row in task.rows]
    with pytest.raises(UsageError, match="both trained on and held out"):
        labelled_tasks([seen], [make_task("seen", seed=3)], instructions=False)


def test_documents_that_hold_a_held_out_text_are_not_learned() -> None:
    """Guards the corpus: a measured text inside a document, in other case and punctuation, was learned with it."""
    rows = ({"text": "The wheel, in TWO -- the miller went away."}, {"text": "Its crew."})
    held_out = replace(make_task("other"), test=tuple(Example(f"t{at}", row) for at, row in enumerate(rows)))
    assert documents_apart(DOCUMENTS, [held_out]) == [BOAT]
    assert documents_apart(DOCUMENTS, []) == DOCUMENTS
    near = replace(held_out, test=(Example("t", {"text": "The wheel in two, the miller went"}),))
    assert documents_apart([MILL.replace("went", "wentward")], [near]) == [MILL.replace("went", "wentward")]


def test_instructions_stand_before_the_prompt_when_wanted() -> None:
    """Guards instruction tuning: with it every prompt begins with the instruction, without it none."""
    task = make_task("a", instruction="Say how the review judges.")
    (with_it,), _ = labelled_tasks([task], [], instructions=True)
    (without,), _ = labelled_tasks([task], [], instructions=False)
    texts = [training_text(one.template, task.pool[:2], task.pool[2], form="direct")[0] for one in (with_it, without)]
    assert texts[0] == f"Say how the review judges.\n\n{texts[1]}"
    with pytest.raises(UsageError, match="no instruction"):
        labelled_tasks([replace(make_task("b"), instruction="")], [], instructions=True)


@pytest.mark.parametrize("task", MAKERS)
def test_rows_of_plain_text_can_be_answered_from_it(task: str) -> None:
    """Guards every objective: its answer is true to the text, and the same seed gives the same rows."""
    rows = self_supervised_rows(DOCUMENTS, task, count=30, seed=1)
    assert rows == self_supervised_rows(DOCUMENTS, task, count=30, seed=1)
    assert len(rows) > 5
    sentences = [sentence for document in DOCUMENTS for sentence in sentences_of(document)]
    for row in rows:
        text, answer = row.fields["text"], str(row.label)
        if task == "next-sentence":
            place = sentences.index(answer)
            assert text.endswith(sentences[place - 1])
        elif task == "masked-word":
            hidden = iter(answer.split())
            assert " ".join(next(hidden) if word in MASKS else word for word in text.split()) in sentences
            assert not list(hidden)
        elif task == "last-phrase":
            assert f"{text} {answer}" in " ".join(sentences)
        elif task == "last-phrase-choice":
            assert (text.replace(" | ", " ") in " ".join(sentences)) == (answer == "True")
        else:
            assert (text in " ".join(sentences)) == (answer == "Original")


def test_every_class_of_plain_text_occurs() -> None:
    """Guards against a task whose answer is always the same."""
    rows = self_supervised_rows(DOCUMENTS, "classification", count=40, seed=0)
    assert {row.label for row in rows} == {"Original", "Shuffled", "Mixed"}
    assert {row.label for row in self_supervised_rows(DOCUMENTS, "last-phrase-choice", count=40, seed=0)} == {
        "True",
        "False",
    }


def test_a_corpus_without_sentences_is_named() -> None:
    """Guards against an endless search in a text that poses no task."""
    with pytest.raises(TooFewExamplesError):
        corpus_tasks(["word", "another word"], rows=10, instructions=False, seed=0)


@settings(max_examples=30)
@given(steps=st.integers(1, 200), rise=st.floats(0, 1))
def test_the_learning_rate_rises_and_falls(steps: int, rise: float) -> None:
    """Guards the schedule: always above 0, never above the peak, and falling from the peak on."""
    config = WarmUpConfig(steps=steps, rise=rise)
    rates = [config.rate(step) for step in range(steps)]
    assert all(0 < rate <= config.peak for rate in rates)
    top = int(np.argmax(rates))
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("form", "sideways", "direct, channel"),
        ("adapter", "ia3", "lora, full"),
        ("precision", "half", "auto, float32, bfloat16"),
        *(("steps", 0, "1 or more"), ("corpus_rows", 1, "2 or more"), ("shots", -1, "0 or more")),
        *(("learning_rate", 0.0, "above 0"), ("clip", float("inf"), "above 0"), ("rise", 1.5, "from 0 to 1")),
        ("weight_decay", -1.0, "0 or a number above"),
    ],
)
def test_wrong_settings_are_refused_by_name(name: str, value: object, told: str) -> None:
    """Guards against a mistake that shows after minutes of loading, or among fifteen other settings."""
    with pytest.raises(UsageError, match=f"{name}.*{value}.*{told}"):
        WarmUpConfig(**{name: value})  # type: ignore[arg-type]
