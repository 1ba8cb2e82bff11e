"""Tests of what all adapters share: rows to examples and back, a pool that grows, what is hashed."""

from __future__ import annotations

import copy
import json
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selector.adapters.columns import Columns
from selector.adapters.source import DemonstrationSource, folder_fingerprint
from selector.data.pool import Pool
from selector.data.task import Task
from selector.errors import ArtifactError, ArtifactMismatchError, InvalidExampleError, UsageError
from selector.strategies.exported import load_policy
from selector.strategies.lexical import BM25Selector
from selector.strategies.retriever import RetrieverCard, write_retriever_card
from selector.testing import planted_examples, planted_pool
from selector.types import Query, Selection

ROWS = [{"text": example.fields["text"], "label": example.label, "note": "x"} for example in planted_examples(12)]


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), st.text(), min_size=3), st.text(), st.permutations("abc"))
def test_a_row_comes_back_as_it_was(fields: dict[str, str], label: str, order: Sequence[str]) -> None:
    """Guards text that changes on the way, and field order that follows the row instead of the columns."""
    columns = Columns(tuple(order), "answer")
    example = columns.example({**fields, "answer": label, "other": 1}, "u")
    assert list(example.fields) == list(order)
    assert columns.row(example) == {**fields, "answer": label}
    assert columns.query(fields).fields == example.fields


def test_equal_queries_have_equal_uids_that_no_pool_has() -> None:
    """Guards leave-one-out by uid: a query must not hide a pool member by chance, whatever a row is called."""
    columns = Columns(("text",))
    pool = columns.pool(ROWS)
    first, again, other = (columns.query({"text": text}) for text in ("a", "a", "b"))
    assert first.uid == again.uid != other.uid
    assert pool.duplicates_of(first) == frozenset()
    assert pool.duplicates_of(columns.query(ROWS[3])) == {3}


@pytest.mark.parametrize(
    ("row", "message"),
    [({"label": "fresh"}, "lacks \\['text'\\]"), ({"text": "x"}, "lacks \\['label'\\]"), ({"text": None}, "text")],
)
def test_a_wrong_row_is_named(row: dict[str, object], message: str) -> None:
    """Guards against a KeyError from inside a framework."""
    with pytest.raises(InvalidExampleError, match=message):
        Columns(("text",)).example(row, "u")


@pytest.mark.parametrize("columns", [((), "label"), (("a", "a"), "label"), (("label",), "label")])
def test_columns_must_differ(columns: tuple[tuple[str, ...], str]) -> None:
    """Guards against a label that is shown as an input of the query."""
    with pytest.raises(UsageError, match="all names different"):
        Columns(*columns)


def test_an_added_row_can_be_chosen() -> None:
    """Guards against a selector that keeps the old pool, and against uids that occur twice."""
    source = DemonstrationSource.of_rows(ROWS, BM25Selector, inputs=["text"])
    before = source.fingerprint
    assert source.rows([{"text": "zebra zebra"}], 1)[0][0]["text"] != "a zebra"
    uids = [source.add({"text": "a zebra", "label": "rotten"}), source.add({"text": "two", "label": "fresh"})]
    assert len({*uids, *(example.uid for example in source.pool)}) == len(source.pool) == len(ROWS) + 2
    assert source.rows([{"text": "zebra zebra"}], 1) == [[{"text": "a zebra", "label": "rotten"}]]
    assert source.fingerprint != before


def test_a_policy_is_held_to_its_pool_until_the_pool_grows(planted_policy: Path, planted_task: Path) -> None:
    """Guards both ways: another task's pool must be refused at once, a pool that grew on purpose must not be."""
    pool = Task.load(planted_task).pool
    source = DemonstrationSource.load(planted_policy, planted_task)
    queries = planted_examples(4, seed=3, prefix="query")
    want = load_policy(planted_policy, pool).select(queries, 2)
    rows = [dict(query.fields) for query in queries]
    assert source.select(rows, 2)[1] == want
    assert source.rows(rows, 2) == [
        [{**pool[index].fields, "label": pool[index].label} for index in chosen.indices] for chosen in want
    ]
    source.add({"text": queries[0].fields["text"] + " indeed", "label": "fresh"})
    assert len(source.examples(rows, 2)[0]) == 2
    other = planted_task.with_name("other.toml")
    other.write_text(planted_task.read_text().replace("dev_size = 6", "dev_size = 7"))
    with pytest.raises(ArtifactMismatchError, match="pool"):
        DemonstrationSource.load(planted_policy, other)
    assert len(DemonstrationSource.load(planted_policy, other, force=True).rows(rows, 2)) == 4
    with pytest.raises(ArtifactError):
        DemonstrationSource.load(planted_task.parent, planted_task)


def test_a_retriever_is_a_source_too(tiny_encoder: Path, planted_task: Path, tmp_path: Path) -> None:
    """Guards the other kind of folder that training leaves."""
    folder = tmp_path / "retriever"
    shutil.copytree(tiny_encoder, folder)
    write_retriever_card(folder, RetrieverCard("tiny", "pool", "template", "lm"))
    source = DemonstrationSource.load(folder, planted_task)
    assert len(source.rows([{"text": "the plot is dull"}], 3)[0]) == 3


def test_the_fingerprint_follows_content_and_nothing_else(
    planted_policy: Path, planted_task: Path, tmp_path: Path
) -> None:
    """Guards a cache that is missed because a folder moved, or stale because a policy was trained again."""
    moved = tmp_path / "moved"
    shutil.copytree(planted_policy, moved)
    first = DemonstrationSource.load(planted_policy, planted_task).fingerprint
    assert DemonstrationSource.load(moved, planted_task).fingerprint == first
    manifest = json.loads((moved / "manifest.json").read_text())
    (moved / "manifest.json").write_text(json.dumps(manifest | {"shortlist_size": 5}))
    assert DemonstrationSource.load(moved, planted_task).fingerprint != first
    template = planted_task.with_name("template.toml")
    template.write_text(planted_task.read_text().replace("Review:", "Text:"))
    assert DemonstrationSource.load(planted_policy, template).fingerprint != first
    assert folder_fingerprint(tmp_path / "absent") == folder_fingerprint(tmp_path / "nowhere")


def test_copies_share_the_source_and_threads_take_turns() -> None:
    """Guards against frameworks that copy programs with their models, and against a tokenizer used by two threads."""
    inside, most = 0, 0
    lock = threading.Lock()

    class Watching:
        def __init__(self, pool: Pool) -> None:
            self.pool = pool

        def select(self, queries: Sequence[Query], k: int) -> list[Selection]:
            nonlocal inside, most
            with lock:
                inside += 1
                most = max(most, inside)
            threading.Event().wait(0.01)
            with lock:
                inside -= 1
            return [Selection.of(*range(k)) for _ in queries]

    columns = Columns(("text",))
    source = DemonstrationSource(Watching, planted_pool(8), columns)
    assert copy.deepcopy({"source": source})["source"] is source
    threads = [threading.Thread(target=source.rows, args=([{"text": str(number)}], 2)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
