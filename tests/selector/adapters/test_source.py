"""Tests of what all adapters share: rows to examples and back, a pool that grows, what is hashed."""

from __future__ import annotations

import copy
import json
import pickle
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selector.adapters.columns import Columns
from selector.adapters.source import DemonstrationSource, folder_fingerprint
from selector.data.loading import load_examples
from selector.data.pool import Pool
from selector.data.task import Task
from selector.errors import (
    ArtifactError,
    ArtifactMismatchError,
    InvalidExampleError,
    ShotsmithError,
    UnknownLabelError,
    UsageError,
)
from selector.retrieval.encoder import SentenceEncoder
from selector.strategies.exported import load_learned, load_policy
from selector.strategies.lexical import BM25Selector
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


def test_a_grown_pool_still_leaves_out_near_duplicates() -> None:
    """Guards the threshold, which adding a row dropped: a query was then shown all but itself."""
    pool = Pool(planted_pool(12), near_duplicates=0.8)
    source = DemonstrationSource(BM25Selector, pool, Columns(("text",)))
    text = "a slow and solemn film about a lighthouse keeper who counts the ships that never come back to the harbour"
    before = source.fingerprint
    source.add({"text": text, "label": "fresh"})
    assert source.pool.near_duplicates == 0.8
    assert text not in {row["text"] for row in source.rows([{"text": f"{text} again"}], 4)[0]}
    plain = DemonstrationSource(BM25Selector, planted_pool(12), Columns(("text",)))
    assert plain.fingerprint != before, "the threshold decides what is chosen"


def test_an_added_label_is_one_of_the_task(planted_policy: Path, planted_task: Path) -> None:
    """Guards against demonstrations with a label that the language model is never asked for."""
    source = DemonstrationSource.load(planted_policy, planted_task)
    with pytest.raises(UnknownLabelError, match="'stale'"):
        source.add({"text": "a new review", "label": "stale"})
    assert len(source.pool) == len(Task.load(planted_task).pool)


@pytest.mark.parametrize("cell", ["", " ", None, float("nan"), 3, True, ["x"]])
def test_a_cell_is_taken_as_loading_takes_it(cell: object, tmp_path: Path) -> None:
    """Guards against a row that `add` takes and a data file may not hold, or the other way round."""

    def outcome(make: Callable[[], object]) -> object:
        try:
            return make()
        except ShotsmithError as error:
            return type(error)

    row = {"text": cell, "label": "fresh"}
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row), encoding="utf-8")
    loaded = outcome(lambda: load_examples(path, inputs=["text"], label="label", split="train")[0].fields)
    assert outcome(lambda: Columns(("text",)).example(row, "u").fields) == loaded


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], list[object]]:
    """The texts that are embedded from now on, and the encoders that are loaded."""
    from sentence_transformers import SentenceTransformer

    texts: list[str] = []
    loads: list[object] = []
    encode, load = SentenceTransformer.encode, SentenceEncoder.load

    def counting(model: SentenceTransformer, given: list[str], *args: Any, **options: Any) -> Any:
        texts.extend(given)
        return encode(model, given, *args, **options)

    def loading(place: Path | str) -> SentenceEncoder:
        loads.append(place)
        return load(place)

    monkeypatch.setattr(SentenceTransformer, "encode", counting)
    monkeypatch.setattr(SentenceEncoder, "load", loading)
    return texts, loads


@pytest.mark.parametrize("kind", ["policy", "retriever", "rows"])
def test_a_grown_pool_embeds_what_is_new_alone(
    kind: str,
    planted_policy: Path,
    retriever: Path,
    planted_task: Path,
    encoded: tuple[list[str], list[object]],
) -> None:
    """Guards each round of adding and choosing against embedding the whole pool and loading the artifact again."""
    texts, loads = encoded
    if kind == "rows":
        columns = Columns(("text",))
        source = DemonstrationSource(lambda pool: load_learned(retriever, pool), columns.pool(ROWS), columns)
    else:
        source = DemonstrationSource.load(planted_policy if kind == "policy" else retriever, planted_task)
    source.rows([{"text": "the first query"}], 2)
    for number in range(3):
        texts.clear()
        new = f"quite another review, number {number}, of a {kind}"  # encoders of the same weights share what they know
        source.add({"text": new, "label": "fresh"})
        query = {"text": f"query number {number} of a {kind}"}
        chosen = source.select([query], 2)[1]
        assert sorted(text.partition("\n")[0] for text in texts) == sorted([new, query["text"]])
    assert len(loads) == (4 if kind == "rows" else 1)  # what the caller's own function makes is made anew
    fresh = load_learned(planted_policy if kind == "policy" else retriever, source.pool, force=True)
    assert chosen == fresh.select([source.columns.query(query)], 2)


def test_choices_go_with_the_row(choice_task: Path, retriever: Path) -> None:
    """Guards multiple-choice tasks: without their choices neither queries could be scored nor rows be added."""
    source = DemonstrationSource.load(retriever, choice_task)
    query = source.columns.query({"text": "dull", "options": ["good", "bad"]})
    assert query.choices == ("good", "bad")
    assert source.columns.query({"text": "dull"}).choices == ()
    assert query.uid not in {source.columns.query({"text": "dull"}).uid}
    source.add({"text": "by place", "options": ["good", "bad"], "label": 1})
    source.add({"text": "by text", "options": ["good", "bad"], "label": "good"})
    assert [(one.choices, one.label) for one in source.pool[-2:]] == [
        (("good", "bad"), "bad"),
        (("good", "bad"), "good"),
    ]
    assert source.columns.row(source.pool[-1]) == {"text": "by text", "choices": ["good", "bad"], "label": "good"}
    with pytest.raises(InvalidExampleError, match="lacks \\['options'\\]"):
        source.add({"text": "x", "label": "good"})
    for label in ("fine", 2):
        with pytest.raises(UnknownLabelError, match=f"'{label}'"):
            source.add({"text": "x", "options": ["good", "bad"], "label": label})


def test_choices_may_stand_in_columns_of_their_own() -> None:
    """Guards the other form of choices, and a row that has some of them only."""
    columns = Columns(("text",), choices=("a", "b"))
    assert columns.query({"text": "x", "a": "one", "b": 2}).choices == ("one", "2")
    with pytest.raises(InvalidExampleError, match="lacks \\['b'\\]"):
        columns.query({"text": "x", "a": "one"})


def test_a_retriever_is_a_source_too(retriever: Path, planted_task: Path) -> None:
    """Guards the other kind of folder that training leaves."""
    source = DemonstrationSource.load(retriever, planted_task)
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
    assert copy.deepcopy({"source": source})["source"] is source is copy.copy(source)
    with pytest.raises(UsageError, match="cannot be pickled"):
        pickle.dumps(source)
    threads = [threading.Thread(target=source.rows, args=([{"text": str(number)}], 2)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
