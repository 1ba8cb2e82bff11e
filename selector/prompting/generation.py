"""Demonstrations that the language model writes itself, for each query and each label (Kim et al., 2022, SG-ICL).

What is written ends at a quotation mark or its line's end, or, where it grows too long, with its last whole sentence.
It is refused where it is empty or repeats the query, a member of the pool, or what was written before. What is kept
stands behind the pool's own members in a longer pool, so that indices of the pool go on to mean the same and any
selector may add retrieved demonstrations.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from selector.data.pool import Pool, normalised_text
from selector.data.words import IDEOGRAPHIC_ENDS, words_of
from selector.errors import PromptTooLongError, UsageError
from selector.inference.changed import changed_engine
from selector.inference.engine import InferenceEngine
from selector.lm.base import LanguageModel, Usage
from selector.progress import SILENT, Progress
from selector.prompting.generation_file import Generation, GenerationFile
from selector.prompting.template import PromptTemplate
from selector.prompting.window import fitted_prompt
from selector.strategies.base import Selector
from selector.types import Example, Query, Selection

PREFIX = "generated"  # begins the uid of every generated example
_SENTENCE_END = re.compile(rf"[.!?](?=\s|$)|[{IDEOGRAPHIC_ENDS}]")


@dataclass(frozen=True)
class GenerationConfig:
    """How demonstrations are written.

    Attributes:
        per_label: How many for each query and label.
        tries: How often it is tried; every try has another seed.
        temperature: Of the sampling.
        top_k: Sample among the k most probable tokens; 0 is all.
        max_new_tokens: The longest input, tokens; a longer one is cut behind its last whole sentence.
        fewest_words: The shortest input, words.
        seed: Of the first try; the same for every query, so that a query's demonstrations do not depend on the others.
    """

    per_label: int = 1
    tries: int = 3
    temperature: float = 0.7
    top_k: int = 40
    max_new_tokens: int = 48
    fewest_words: int = 2
    seed: int = 0


@dataclass(frozen=True)
class GeneratedDemonstrations:
    """Everything that was written for some queries.

    Attributes:
        engine: Answers with the longer pool.
        generations: All of it, in order.
        usage: What writing cost.
        positions: Uid of the query to the positions of its demonstrations in the longer pool, one label after the
            other in turn; which comes first differs from query to query.
    """

    engine: InferenceEngine
    generations: tuple[Generation, ...]
    usage: Usage
    positions: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def refused(self) -> dict[str, int]:
        """Why texts were refused, and how many of them."""
        return dict(Counter(one.refused for one in self.generations if one.refused))


class GeneratedSelector:
    """Shows generated demonstrations before retrieved ones, which stand next to the query.

    A selection's scores say nothing for generated demonstrations (0).

    Args:
        generated: What was written; use it with `generated.engine`.
        retriever: Adds retrieved demonstrations: a selector over the pool without the generated ones; None adds none.
        share: How many of k are generated; None is half of them, or all without a retriever.

    Raises:
        UsageError: When the share is negative.
    """

    def __init__(
        self, generated: GeneratedDemonstrations, retriever: Selector | None = None, *, share: int | None = None
    ) -> None:
        if share is not None and share < 0:
            raise UsageError(f"{share} generated demonstrations", expected="0 or more", remedy="Raise the number.")
        self._generated = generated
        self._retriever = retriever
        self._share = share

    def select(self, queries: Sequence[Query], k: int) -> list[Selection]:
        """Mixes; see `Selector.select`.

        Args:
            queries: N queries for which demonstrations were generated.
            k: Demonstrations for each; where too few could be generated, retrieved ones take their places.

        Returns:
            N selections into the longer pool; without a retriever perhaps of fewer than k.

        Raises:
            UsageError: When nothing was tried for a query.
            TooFewExamplesError: When the retriever has too few.
        """
        selections = []
        for query in queries:
            if query.uid not in self._generated.positions:
                raise UsageError(
                    f"no demonstrations were generated for query {query.uid!r}",
                    expected="a query that was given to generate_demonstrations",
                    remedy="Generate for all queries first.",
                )
            share = self._share if self._share is not None else (k if self._retriever is None else (k + 1) // 2)
            own = self._generated.positions[query.uid][: min(share, k)]
            indices, scores = own, (0.0,) * len(own)
            if self._retriever is not None and len(own) < k:
                (found,) = self._retriever.select([query], k - len(own))
                indices, scores = (*own, *found.indices), (*scores, *found.scores)
            selections.append(Selection(indices, scores))
        return selections


def generation_prompt(template: PromptTemplate, query: Query, label: str) -> str:
    """Asks for an input like a query's that has a certain label.

    Args:
        template: Names the fields and verbalizes the label.
        query: Its fields but the last are kept; the last one is written anew.
        label: The label.

    Returns:
        The prompt; a text up to a quotation mark is expected behind it.
    """
    *kept, written = template.input_fields
    given = "".join(f"{name}: {_line(query.fields[name])}\n" for name in kept)
    answer = template.completion(label).strip()
    text = _line(query.fields[written])
    return f'{given}{written}: "{text}"\nanother {written}, for which the answer is "{answer}": "'


def generate_demonstrations(
    engine: InferenceEngine,
    queries: Sequence[Query],
    *,
    config: GenerationConfig = GenerationConfig(),
    kept: GenerationFile | None = None,
    progress: Progress = SILENT,
) -> GeneratedDemonstrations:
    """Writes demonstrations for queries.

    Args:
        engine: Its language model writes; its pool is what the demonstrations are added to.
        queries: N queries; their labels are not looked at.
        config: How they are written.
        kept: Takes what is written for a query at once; what it holds is not written again.
        progress: Shows queries.

    Returns:
        What was written, with an engine over the longer pool; nothing for a query that leaves no room for a text.

    Raises:
        PromptTooLongError: When a query does not fit even without demonstrations; nothing has been written by then.
        UsageError: When targets are free text: there are no labels to write for.
        OwnChoicesError: When queries have choices of their own.
    """
    engine.require_label_scores("writing demonstrations for each label")
    engine.require_shared_labels("writing demonstrations for each label")
    engine.fit(queries, [Selection.of()] * len(queries))
    before = engine.lm.usage
    generations: list[Generation] = []
    added: list[Example] = []
    members = [replace(one, fields=_shown_fields(engine.template, one)) for one in engine.pool]
    shown = Pool(members, near_duplicates=engine.pool.near_duplicates)
    positions: dict[str, tuple[int, ...]] = {}
    with progress.track("writing demonstrations", len(queries)) as advance:
        for query in queries:
            if query.uid not in positions:
                own = kept.find(query) if kept else None
                if own is None:
                    own = _generations(engine, query, config, shown)
                    if kept:
                        kept.append(query, own)
                examples = _in_turn([one.example for one in own if one.example is not None])
                start = len(engine.pool) + len(added)
                positions[query.uid] = tuple(range(start, start + len(examples)))
                generations += own
                added += examples
            advance(1)
    pool = Pool([*engine.pool, *added], near_duplicates=engine.pool.near_duplicates)
    return GeneratedDemonstrations(
        changed_engine(engine, pool=pool), tuple(generations), engine.lm.usage - before, positions
    )


def _generations(engine: InferenceEngine, query: Query, config: GenerationConfig, shown: Pool) -> list[Generation]:
    template, lm = engine.template, engine.lm
    known = {normalised_text(_shown_fields(template, query))}
    made: list[Generation] = []
    for label in _turned(template.labels, query.uid):
        asked = generation_prompt(template, query, label)
        try:
            prompt = fitted_prompt(lm, (), asked, reserve=config.max_new_tokens, uid=query.uid)
        except PromptTooLongError:
            made.append(Generation(query.uid, label, asked, "", None, "no room for a text beside the query"))
            continue
        kept = 0
        for attempt in range(config.tries):
            if kept == config.per_label:
                break
            texts = lm.generate(
                [prompt] * (config.per_label - kept),
                max_new_tokens=config.max_new_tokens,
                stop=('"', "\n"),
                temperature=config.temperature,
                top_k=config.top_k,
                seed=config.seed + attempt * config.per_label,
            )
            for text in texts:
                uid = f"{PREFIX}-{query.uid}-{sum(one.example is not None for one in made)}"
                written = _whole(text, _tokens_of(lm, text), config.max_new_tokens)
                fields = {**_shown_fields(template, query), template.input_fields[-1]: _line(written)}
                refused = _refusal(shown, Example(uid, fields), known, words=config.fewest_words)
                if text and not written:
                    refused = f"cut off behind {config.max_new_tokens} tokens, before a sentence ends"
                example = None if refused else Example(uid, fields, label)
                if example is not None:
                    known.add(normalised_text(fields))
                    kept += 1
                made.append(Generation(query.uid, label, prompt, text, example, refused))
    return made


def _tokens_of(lm: LanguageModel, text: str) -> int:
    """Tokens of a text without the one that a tokenizer may put at its beginning."""
    own, letter = lm.count_tokens([text, "a"])  # servers may refuse an empty text
    return own - (letter - 1)


def _whole(text: str, tokens: int, most: int) -> str:
    """A text up to its last sentence that ends, where it was cut off; empty where none does."""
    if tokens < most:
        return text
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    return text[: ends[-1]] if ends else ""


def _refusal(pool: Pool, example: Example, known: set[str], *, words: int) -> str:
    written = list(example.fields.values())[-1]
    if len(words_of(written)) < words:
        return f"fewer than {words} words"
    if normalised_text(example.fields) in known:
        return "repeats the query or what was written for it before"
    return "repeats a member of the pool" if pool.duplicates_of(example) else ""


def _shown_fields(template: PromptTemplate, query: Query) -> dict[str, str]:
    template.check(query)
    return {name: query.fields[name] for name in template.input_fields}


def _turned(labels: Sequence[str], uid: str) -> list[str]:
    """The labels from one on that the query's uid decides: else some labels are never shown, or always last."""
    first = int(hashlib.sha256(uid.encode()).hexdigest(), 16) % len(labels)
    return [*labels[first:], *labels[:first]]


def _in_turn(examples: Sequence[Example]) -> list[Example]:
    """One of each label, then the next of each, so that a prefix is balanced."""
    by_label: dict[str | None, list[Example]] = {}
    for example in examples:
        by_label.setdefault(example.label, []).append(example)
    deepest = max(map(len, by_label.values()), default=0)
    return [own[place] for place in range(deepest) for own in by_label.values() if place < len(own)]


def _line(text: str) -> str:
    return " ".join(text.split()).strip("\"'“” ")
