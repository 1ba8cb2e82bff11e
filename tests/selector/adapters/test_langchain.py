"""Tests of the LangChain adapter in LangChain's own prompts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from langchain_core.example_selectors import BaseExampleSelector
from langchain_core.prompts import (
    ChatPromptTemplate,
    FewShotChatMessagePromptTemplate,
    FewShotPromptTemplate,
    PromptTemplate,
)

from selector.adapters.langchain import DemonstrationSelector
from selector.data.task import Task
from selector.errors import InvalidExampleError, TooFewExamplesError
from selector.strategies.exported import load_policy
from selector.strategies.lexical import BM25Selector
from selector.testing import planted_examples

QUERIES = planted_examples(5, seed=3, prefix="query")


@pytest.fixture
def chosen(planted_policy: Path, planted_task: Path) -> list[list[dict[str, str]]]:
    """What the policy itself chooses for the queries, as rows."""
    pool = Task.load(planted_task).pool
    selections = load_policy(planted_policy, pool).select(QUERIES, 3)
    return [[{**pool[at].fields, "label": str(pool[at].label)} for at in one.indices] for one in selections]


@pytest.fixture
def selector(planted_policy: Path, planted_task: Path) -> DemonstrationSelector:
    return DemonstrationSelector.from_artifact(planted_policy, planted_task, k=3)


def test_a_text_prompt_holds_what_the_policy_chose(selector, chosen) -> None:
    """Guards order and content in `FewShotPromptTemplate`, which passes all variables of the prompt."""
    prompt = FewShotPromptTemplate(
        example_selector=selector,
        example_prompt=PromptTemplate.from_template("{text} => {label}"),
        suffix="{text} ({tone}) =>",
        input_variables=["text", "tone"],
    )
    for query, rows in zip(QUERIES, chosen, strict=True):
        text = query.fields["text"]
        want = [*(f"{row['text']} => {row['label']}" for row in rows), f"{text} (dry) =>"]
        assert prompt.format(text=text, tone="dry") == "\n\n".join(want)
        assert asyncio.run(prompt.aformat(text=text, tone="dry")) == "\n\n".join(want)


def test_a_chat_prompt_holds_what_the_policy_chose(selector, chosen) -> None:
    """Guards the chat form, synchronous and not: turns in prompt order, the last pair next to the question."""
    shots = FewShotChatMessagePromptTemplate(
        input_variables=["text"],
        example_selector=selector,
        example_prompt=ChatPromptTemplate.from_messages([("human", "{text}"), ("ai", "{label}")]),
    )
    prompt = ChatPromptTemplate.from_messages([shots, ("human", "{text}")])
    text = QUERIES[0].fields["text"]
    want = [turn for row in chosen[0] for turn in (("human", row["text"]), ("ai", row["label"]))] + [("human", text)]
    assert [(message.type, message.content) for message in prompt.format_messages(text=text)] == want
    later = asyncio.run(prompt.aformat_messages(text=text))
    assert [(message.type, message.content) for message in later] == want


def test_many_prompts_at_once(selector, chosen) -> None:
    """Guards concurrent requests of a server against each other's demonstrations."""

    async def ask() -> list[list[dict[str, str]]]:
        return await asyncio.gather(*(selector.aselect_examples(dict(query.fields)) for query in QUERIES * 3))

    assert asyncio.run(ask()) == chosen * 3


def test_added_examples_are_chosen_from() -> None:
    """Guards both ways of adding, and that a query that is in the pool does not see itself."""
    rows = [{"question": f"what is {number}", "answer": str(number), "source": "book"} for number in range(6)]
    selector = DemonstrationSelector.from_examples(rows, BM25Selector, inputs=["question"], label="answer", k=2)
    assert isinstance(selector, BaseExampleSelector)
    selector.add_example({"question": "which bird sings", "answer": "lark"})
    asyncio.run(selector.aadd_example({"question": "which bird swims", "answer": "duck"}))
    found = selector.select_examples({"question": "which bird runs"})
    assert {row["answer"] for row in found} == {"lark", "duck"}
    own = selector.select_examples({"question": "which bird sings"})
    assert "lark" not in {row["answer"] for row in own}
    assert own[-1] == {"question": "which bird swims", "answer": "duck"}


def test_mistakes_are_named() -> None:
    """Guards against a KeyError out of LangChain."""
    rows = [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]
    selector = DemonstrationSelector.from_examples(rows, BM25Selector, inputs=["text"], k=4)
    with pytest.raises(InvalidExampleError, match="lacks"):
        selector.select_examples({"question": "a"})
    with pytest.raises(InvalidExampleError, match="label"):
        selector.add_example({"text": "c"})
    with pytest.raises(TooFewExamplesError):
        selector.select_examples({"text": "c"})
