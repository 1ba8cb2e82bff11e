"""Training prompts: some demonstrations and a query of one task, with the text that is learned behind them.

MetaICL (Min et al., 2022, "MetaICL: Learning to Learn In Context"): tasks are drawn uniformly whatever their size, then
k + 1 different rows of one task; the last is the query, and only its answer is learned. The channel form swaps input
and answer. With instructions the same is instruction tuning. This module knows tokens only as a length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from policies.self_supervision import FEWEST_WORDS, MAKERS, self_supervised_rows
from selector.data.pool import normalised_text
from selector.data.task import Task
from selector.data.words import words_of
from selector.errors import TooFewExamplesError, UsageError
from selector.lm.prefix_tree import TokenRequest
from selector.prompting.self_supervised import TEMPLATES
from selector.prompting.template import PromptTemplate
from selector.types import Example

TRIES = 50  # queries of a task that may be too long in a row
Encode = Callable[[str, str], TokenRequest]
"""A prompt and the text behind it to tokens."""


@dataclass(frozen=True)
class TrainingTask:
    """Rows and the template that makes prompts of them.

    Attributes:
        name: As it stands in cards.
        rows: At least two labelled examples.
        template: The template.
    """

    name: str
    rows: Sequence[Example]
    template: PromptTemplate

    def __post_init__(self) -> None:
        if len(self.rows) < 2:
            raise TooFewExamplesError(available=len(self.rows), wanted=2, what=f"training rows of {self.name!r}")
        for row in self.rows:
            self.template.check(row)


@dataclass(frozen=True)
class Episode:
    """One training prompt.

    Attributes:
        task: Whose it is.
        uids: Of the demonstrations in prompt order, and of the query.
        request: Its tokens; those from `request.first` on are learned.
    """

    task: str
    uids: tuple[str, ...]
    request: TokenRequest


def labelled_tasks(
    tasks: Sequence[Task], held_out: Sequence[Task], *, instructions: bool
) -> tuple[list[TrainingTask], dict[str, int]]:
    """Takes the pools of tasks for training, without what the held-out tasks are measured on or show.

    Args:
        tasks: Training tasks; only their pools are looked at.
        held_out: Tasks that will be measured.
        instructions: Whether prompts begin with the instruction of their task; else templates lose theirs.

    Returns:
        The training tasks; and name to how many rows were left out because a held-out task has the same text.

    Raises:
        UsageError: When a task is in both, has a name twice, or lacks the instruction that is wanted.
        TooFewExamplesError: When a task is left with fewer than two rows.
    """
    names = [task.name for task in (*tasks, *held_out)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(
            f"the task {twice[0]!r} is given twice",
            expected="different tasks, and none both trained on and held out",
            remedy="Drop or rename one.",
        )
    kept_out = {normalised_text(row.fields) for row in _all_rows(held_out)}
    found, dropped = [], {}
    for task in tasks:
        template = task.instructed().template if instructions else replace(task.template, instruction="")
        own = [row for row in task.pool if normalised_text(row.fields) not in kept_out]
        dropped[task.name] = len(task.pool) - len(own)
        found.append(TrainingTask(task.name, own, template))
    return found, dropped


def documents_apart(documents: Sequence[str], held_out: Sequence[Task]) -> list[str]:
    """Leaves out the documents that contain a text of a held-out task, up to case and punctuation.

    Args:
        documents: Plain texts.
        held_out: Tasks that will be measured; their texts of fewer than `FEWEST_WORDS` words, which stand in any
            document, are not looked for.

    Returns:
        The others, in order.
    """
    by_start: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for text in {text for row in _all_rows(held_out) for text in row.fields.values()}:
        words = tuple(words_of(normalised_text({"": text})))
        if len(words) >= FEWEST_WORDS:
            by_start.setdefault(words[:FEWEST_WORDS], set()).add(words)

    def holds_one(document: str) -> bool:
        words = tuple(words_of(normalised_text({"": document})))
        starts = ((at, by_start.get(words[at : at + FEWEST_WORDS], ())) for at in range(len(words)))
        return any(words[at : at + len(text)] == text for at, texts in starts for text in texts)

    return [document for document in documents if not holds_one(document)]


def _all_rows(tasks: Sequence[Task]) -> Iterator[Example]:
    return (row for task in tasks for split in (task.pool, task.reward, task.dev, task.test) for row in split)


def corpus_tasks(documents: Sequence[str], *, rows: int, instructions: bool, seed: int) -> list[TrainingTask]:
    """Makes the self-supervised tasks of a corpus.

    Args:
        documents: Plain texts.
        rows: Rows of each task, at most.
        instructions: Whether prompts begin with the instruction of the task.
        seed: Seeds the rows.

    Returns:
        One task for each of `policies.self_supervision.MAKERS`.

    Raises:
        TooFewExamplesError: When the corpus gives a task fewer than two rows.
    """
    return [
        TrainingTask(
            name,
            self_supervised_rows(documents, name, count=rows, seed=seed),
            TEMPLATES[name] if instructions else replace(TEMPLATES[name], instruction=""),
        )
        for name in MAKERS
    ]


def training_text(
    template: PromptTemplate, demonstrations: Sequence[Example], query: Example, *, form: str
) -> tuple[str, str]:
    """Writes a prompt and the text that is learned behind it.

    Args:
        template: The template.
        demonstrations: In prompt order.
        query: Labelled.
        form: "direct" or "channel".

    Returns:
        Both texts: the ones that direct and channel scoring ask about for the gold label.
    """
    label = str(query.label)
    if form == "channel":
        head, text = template.channel_query(label, query)
        return template.channel_context(demonstrations) + head, text
    return template.prompt(demonstrations, query), template.target(query)


def draw_episode(
    tasks: Sequence[TrainingTask],
    *,
    shots: int,
    form: str,
    longest: int,
    encode: Encode,
    generator: np.random.Generator,
) -> Episode:
    """Draws a task, each as likely as any other, and k + 1 rows of it.

    Demonstrations with the query's text are left out, as are the first ones where the prompt is too long; a query that
    is too long by itself is drawn again.

    Args:
        tasks: Training tasks.
        shots: k.
        form: "direct" or "channel".
        longest: Of prompt and learned text together, tokens.
        encode: Tokenises.
        generator: Draws.

    Returns:
        The episode.

    Raises:
        UsageError: When `TRIES` queries in a row are too long.
    """
    task = tasks[int(generator.integers(len(tasks)))]
    for _ in range(TRIES):
        drawn = generator.choice(len(task.rows), min(shots + 1, len(task.rows)), replace=False)
        *others, query = (task.rows[int(place)] for place in drawn)
        text = normalised_text(query.fields)
        shown = [row for row in others if normalised_text(row.fields) != text]
        for start in range(len(shown) + 1):
            kept = shown[start:]
            request = encode(*training_text(task.template, kept, query, form=form))
            if len(request.tokens) <= longest:
                return Episode(task.name, (*(row.uid for row in kept), query.uid), request)
    raise UsageError(
        f"{TRIES} prompts in a row of the task {task.name!r} are longer than {longest} tokens without demonstrations",
        expected="texts that fit",
        remedy="Raise --longest, or leave the task out.",
    )
