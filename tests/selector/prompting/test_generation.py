"""Tests of demonstrations that the language model writes, and of the selector that mixes them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from selector.data.pool import Pool
from selector.errors import PromptTooLongError, TooFewExamplesError, UsageError
from selector.inference.engine import InferenceEngine
from selector.pipeline import Pipeline
from selector.prompting.generation import (
    GeneratedSelector,
    GenerationConfig,
    generate_demonstrations,
    generation_prompt,
)
from selector.prompting.template import PromptTemplate
from selector.strategies.lexical import BM25Selector
from selector.testing import ScriptedLanguageModel, planted_template
from selector.types import Example, Query


def engine_of(pool: Pool, replies: Any) -> InferenceEngine:
    return InferenceEngine(ScriptedLanguageModel(replies), planted_template(), pool)


def inventive(prompt: str, seed: int) -> str:
    """A new text for each query, label and seed."""
    label = prompt.split('"')[-3]
    return f' a {label} tale number {seed} of {len(prompt)} letters" another line'


def test_the_request_names_query_field_and_label(queries: list[Query]) -> None:
    """Guards the condition: generation must see the query and the label, and never the query's gold label alone."""
    text = queries[0].fields["text"]
    prompt = generation_prompt(planted_template(), queries[0], "rotten")
    assert prompt == f'text: "{text}"\nanother text, for which the answer is "rotten": "'
    pairs = PromptTemplate("{premise} {question}{label}", {"no": " no", "yes": " yes"})
    query = Example("q", {"premise": "It\nrains.", "question": "Is it dry?"})
    prompt = generation_prompt(pairs, query, "yes")
    assert prompt.startswith('premise: It rains.\nquestion: "Is it dry?"\nanother question, ')


def test_demonstrations_are_written_for_each_label(pool: Pool, queries: list[Query]) -> None:
    """Guards counts, labels, uids and positions: the pool's own members stay where they are."""
    generated = generate_demonstrations(engine_of(pool, inventive), queries, config=GenerationConfig(per_label=2))
    longer = generated.engine.pool
    assert list(longer[: len(pool)]) == list(pool)
    assert len(longer) == len(pool) + 4 * len(queries)
    for query in queries:
        own = [longer[place] for place in generated.positions[query.uid]]
        assert [one.label for one in own] in (["fresh", "rotten"] * 2, ["rotten", "fresh"] * 2)
        assert all(one.uid.startswith(f"generated-{query.uid}-") for one in own)
        assert not any("another line" in one.fields["text"] for one in own)
    assert generated.usage.calls == 4 * len(queries)
    assert generated.refused == {}


def test_what_is_written_for_a_query_does_not_depend_on_the_others(pool: Pool, queries: list[Query]) -> None:
    """Guards reproducibility: a query alone gets the demonstrations that it gets among others."""
    engine = engine_of(pool, inventive)
    among, alone = (generate_demonstrations(engine, asked) for asked in (queries, queries[3:4]))
    uid = queries[3].uid
    assert [among.engine.pool[place] for place in among.positions[uid]] == [
        alone.engine.pool[place] for place in alone.positions[uid]
    ]


def test_no_label_is_shown_or_ends_more_often(pool: Pool) -> None:
    """Guards against label bias: half of the labels stood in no prompt, and one and the same stood last."""
    queries = [Example(f"q-{number}", {"text": f"a quiet film number {number}"}) for number in range(60)]
    generated = generate_demonstrations(engine_of(pool, inventive), queries)
    for k, at in ((1, 0), (2, -1)):
        chosen = GeneratedSelector(generated).select(queries, k)
        labels = [generated.engine.pool[one.indices[at]].label for one in chosen]
        assert 15 <= labels.count("fresh") <= 45


def test_uids_never_collide(pool: Pool) -> None:
    """Guards labels and uids with hyphens, which made the same uid of two demonstrations."""
    template = replace(planted_template(), verbalizers={"fresh": " fresh", "rotten": " rotten", "0-fresh": " mild"})
    engine = InferenceEngine(ScriptedLanguageModel(inventive), template, pool)
    queries = [Example(uid, {"text": f"a quiet film {uid}"}) for uid in ("q", "q-0", "q-0-0")]
    generated = generate_demonstrations(engine, queries)
    assert len(generated.engine.pool) == len(pool) + 9


def test_a_copy_of_a_member_with_other_fields_is_refused(pool: Pool, queries: list[Query]) -> None:
    """Guards against a copy that was taken for new because the pool's rows have fields that the template lacks."""
    wider = Pool([replace(one, fields={**one.fields, "url": one.uid}) for one in pool])
    engine = engine_of(wider, lambda prompt, seed: " " + pool[2].fields["text"])
    assert set(generate_demonstrations(engine, queries[:1]).refused) == {"repeats a member of the pool"}


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("\n", "fewer than 2 words"),
        (" one", "fewer than 2 words"),
        (" QUERY!", "repeats the query"),
        (" MEMBER?", "repeats a member of the pool"),
        (" always the same", "repeats the query or what was written for it before"),
    ],
)
def test_duplicates_and_scraps_are_refused_and_counted(
    pool: Pool, queries: list[Query], written: str, why: str
) -> None:
    """Guards leave-one-out: a copy of the query or of the pool, up to case and punctuation, is no demonstration."""
    query = replace(queries[0], label=None)
    texts = {"QUERY": query.fields["text"].upper(), "MEMBER": pool[2].fields["text"]}
    for name, text in texts.items():
        written = written.replace(name, text)
    generated = generate_demonstrations(engine_of(pool, lambda prompt, seed: written), [query])
    ((found, count),) = generated.refused.items()
    assert why in found
    kept = 1 if "always" in written else 0
    assert len(generated.positions[query.uid]) == kept
    assert count == (3 if kept else 6)  # three tries for each label that got none
    assert len({one.prompt for one in generated.generations}) == 2


def test_a_beginning_token_is_no_part_of_what_was_written(
    pool: Pool, queries: list[Query], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards tokenizers that begin every text with one: a text of full length that had ended counted as cut off."""
    engine = engine_of(pool, lambda prompt, seed: f' a {len(prompt)} {seed}" more')
    plain = engine.lm.count_tokens
    monkeypatch.setattr(engine.lm, "count_tokens", lambda texts: [count + 1 for count in plain(texts)])
    config = GenerationConfig(max_new_tokens=plain([" a 1 1"])[0] + 1, tries=1)
    assert generate_demonstrations(engine, queries[:1], config=config).refused == {}


def test_a_text_that_is_cut_off_ends_with_its_last_sentence(pool: Pool, queries: list[Query]) -> None:
    """Guards demonstrations that break off in the middle: they were kept as they were, and not counted."""

    def reply(prompt: str, seed: int) -> str:
        whole = f"Film number {seed} is short. " if '"fresh"' in prompt else ""
        return whole + "It goes on " * 40

    config = GenerationConfig(max_new_tokens=20, tries=2)
    generated = generate_demonstrations(engine_of(pool, reply), queries[:1], config=config)
    kept = [one.example for one in generated.generations if one.example is not None]
    assert [(one.label, one.fields["text"]) for one in kept] == [("fresh", "Film number 0 is short.")]
    assert generated.refused == {"cut off behind 20 tokens, before a sentence ends": 2}


@pytest.mark.parametrize(("share", "expected"), [(None, 2), (0, 0), (1, 1), (9, 2)])
def test_generated_and_retrieved_ones_are_mixed(
    pool: Pool, queries: list[Query], share: int | None, expected: int
) -> None:
    """Guards the mixture in a Pipeline: generated ones first, retrieved ones next to the query, k in all."""
    generated = generate_demonstrations(engine_of(pool, inventive), queries)
    retriever = BM25Selector(pool)
    selector = GeneratedSelector(generated, retriever, share=share)
    for query, selection in zip(queries, selector.select(queries, 4), strict=True):
        uids = [generated.engine.pool[place].uid for place in selection.indices]
        assert [uid.startswith("generated-") for uid in uids] == [True] * expected + [False] * (4 - expected)
        (retrieved,) = retriever.select([query], 4 - expected)
        assert selection.indices[expected:] == retrieved.indices
    predictions = Pipeline(selector, generated.engine).predict(queries, 4)
    assert [len(one.selection.indices) for one in predictions] == [4] * len(queries)
    assert all(len(one.indices) == 0 for one in selector.select(queries, 0))


def test_without_a_retriever_only_generated_ones_are_shown(pool: Pool, queries: list[Query]) -> None:
    """Guards the published setting, without any labelled data; and k smaller than what was written."""
    generated = generate_demonstrations(engine_of(pool, inventive), queries)
    assert [len(one.indices) for one in GeneratedSelector(generated).select(queries, 4)] == [2] * len(queries)
    assert [len(one.indices) for one in GeneratedSelector(generated).select(queries, 1)] == [1] * len(queries)


def test_misuse_is_named(pool: Pool, queries: list[Query]) -> None:
    """Guards a query that nothing was written for, a retriever that has too few, a negative share, and free texts."""
    engine = engine_of(pool, inventive)
    generated = generate_demonstrations(engine, queries[:1])
    with pytest.raises(UsageError, match="no demonstrations were generated"):
        GeneratedSelector(generated).select(queries, 1)
    with pytest.raises(TooFewExamplesError):
        GeneratedSelector(generated, BM25Selector(pool)).select(queries[:1], 99)
    with pytest.raises(UsageError, match="-1"):
        GeneratedSelector(generated, share=-1)
    free = PromptTemplate(template="Review: {text}\nSentiment:{label}", answer_tokens=4)
    with pytest.raises(UsageError, match="free text"):
        generate_demonstrations(InferenceEngine(engine.lm, free, pool), queries)


def test_a_query_without_room_gets_no_text(pool: Pool, queries: list[Query]) -> None:
    """Guards the others: one long query ended the run, and what was written before it was lost."""
    asked = [queries[0], Example("long", {"text": "word " * 150})]
    roomy, narrow = (ScriptedLanguageModel(inventive, context_length=words) for words in (200, 120))
    generated = generate_demonstrations(InferenceEngine(roomy, planted_template(), pool), asked)
    assert [len(generated.positions[query.uid]) for query in asked] == [2, 0]
    assert generated.refused == {"no room for a text beside the query": 2}
    with pytest.raises(PromptTooLongError, match="long"):
        generate_demonstrations(InferenceEngine(narrow, planted_template(), pool), asked)
    assert narrow.prompts == []
