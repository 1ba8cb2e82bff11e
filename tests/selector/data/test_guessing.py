"""Tests of guessing what the columns of a data file are for, and of the task file that is made of it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selector.data.columns import columns_of
from selector.data.guessing import Guess, guess
from selector.data.task import Task
from selector.data.task_writing import propose_task, toml_text, write_task
from selector.errors import (
    DataFileError,
    LabelNotFoundError,
    OneLabelError,
    ShotsmithError,
    TooFewExamplesError,
    UsageError,
)
from selector.testing import planted_examples

Rows = list[dict[str, Any]]


def reviews(count: int = 40, **more: Any) -> Rows:
    return [
        {**one.fields, "label": one.label}
        | {name: value(place) if callable(value) else value for name, value in more.items()}
        for place, one in enumerate(planted_examples(count))
    ]


def guessed(rows: Rows, **known: Any) -> Guess:
    return guess(columns_of(rows), **known)


def write(folder: Path, rows: Rows, name: str = "rows.jsonl") -> Path:
    file = folder / name
    file.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return file


def made(folder: Path, rows: Rows, name: str = "rows.jsonl", **known: Any) -> tuple[Mapping[str, Any], Task]:
    out = folder / "TASK.toml"
    proposed = propose_task(write(folder, rows, name), out, **known)
    return proposed.document, write_task(proposed, out)


def test_a_label_is_found_by_its_name_and_its_values() -> None:
    """Guards the commonest file."""
    found = guessed(reviews())
    assert (found.label, found.inputs, found.kind, dict(found.labels)) == (
        "label",
        ("text",),
        "labels",
        {"fresh": 20, "rotten": 20},
    )


def test_a_label_of_another_name_is_found_by_its_values() -> None:
    """Guards files that call the label what it is."""
    rows = [{"verdict": row["label"], "text": row["text"]} for row in reviews()]
    assert guessed(rows).label == "verdict"


def test_the_words_of_a_numbered_label_are_the_label() -> None:
    """Guards a file with label and label_text: the second tells the first, and means something to a model."""
    rows = [row | {"label": int(row["label"] == "fresh"), "label_text": row["label"]} for row in reviews()]
    found = guessed(rows)
    assert (found.label, found.inputs) == ("label_text", ("text",))
    assert any("left out: label" in reason for reason in found.reasons)


def test_what_tells_the_label_or_the_row_is_no_input() -> None:
    """Guards against leaks: coarser and finer labels, identifiers, sources, constants and explanations."""
    rows = reviews(
        id=lambda place: f"r{place}",
        source="web",
        language="en",
        explanation=lambda place: f"because {place}",
        coarse=lambda place: ("fine", "bad")[place % 2],
        finer=lambda place: str(place % 4),
    )
    found = guessed(rows)
    assert found.inputs == ("text",)
    assert found.uid == "id"


def test_a_question_stands_behind_its_passage() -> None:
    """Guards the order of inputs in a template."""
    rows = [{"question": f"is {n} odd", "passage": f"about {n}", "answer": ("no", "yes")[n % 2]} for n in range(20)]
    assert guessed(rows).inputs == ("passage", "question")


@pytest.mark.parametrize("answer", [lambda n: n % 2, lambda n: f"{'ab'[n % 2]} {n}"])
def test_choices_are_a_list_that_the_label_points_into(answer: Any) -> None:
    """Guards multiple choice, by place and by text."""
    rows = [{"question": f"what {n}", "choices": [f"a {n}", f"b {n}"], "answer": answer(n)} for n in range(20)]
    found = guessed(rows)
    assert (found.kind, found.choices, found.label, found.inputs) == ("choices", ("choices",), "answer", ("question",))


def test_choices_may_stand_in_columns_of_their_own() -> None:
    """Guards COPA as the hub has it."""
    rows = [{"premise": f"p {n}", "choice1": f"a {n}", "choice2": f"b {n}", "label": n % 2} for n in range(20)]
    found = guessed(rows)
    assert (found.choices, found.label, found.inputs) == (("choice1", "choice2"), "label", ("premise",))


def test_many_different_answers_are_written(tmp_path: Path) -> None:
    """Guards free text: its length, its rule, and the steps before it."""
    rows = [
        {"question": f"how many is {n} and {n}", "rationale": f"{n} + {n} = {2 * n}", "answer": str(2 * n)}
        for n in range(60)
    ]
    document, task = made(tmp_path, rows)
    assert document["fields"]["rationale"] == "rationale"
    assert document["prompt"]["answer_rule"] == "number"
    assert task.template.free_text
    assert "labels" not in document


@pytest.mark.parametrize(
    ("rows", "known", "error", "fragment"),
    [
        ([{"text": f"only text {n}"} for n in range(20)], {}, LabelNotFoundError, "'text'"),
        (reviews(), {"label": "mood"}, LabelNotFoundError, "no column 'mood'"),
        (
            [{"text": f"t {n}", "label": "a" if n else ""} for n in range(20)],
            {},
            LabelNotFoundError,
            "'label' has neither",
        ),
        (reviews(mood=lambda n: "" if n else "glad"), {"label": "mood"}, LabelNotFoundError, "39 rows"),
        ([row | {"label": "same"} for row in reviews()], {}, OneLabelError, "'same'"),
        (reviews(), {"inputs": ["txt"]}, UsageError, "'txt'"),
        (reviews(tags=lambda n: ["a"]), {"inputs": ["tags"]}, UsageError, "holds lists"),
        ([{"my text": f"x {n}", "label": "ab"[n % 2]} for n in range(20)], {}, UsageError, "no input column"),
    ],
)
def test_what_cannot_be_guessed_is_named(rows: Rows, known: Any, error: type[Exception], fragment: str) -> None:
    """Guards files that cannot become a task as they are."""
    with pytest.raises(error, match=fragment):
        guessed(rows, **known)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    """Guards empty files, missing ones, other formats and too few rows."""
    out = tmp_path / "TASK.toml"
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "header.csv").write_text("text,label\n")
    (tmp_path / "rows.xlsx").write_bytes(b"PK")
    for name in ("empty.jsonl", "header.csv", "rows.xlsx", "absent.csv"):
        with pytest.raises(DataFileError):
            propose_task(tmp_path / name, out)
    with pytest.raises(TooFewExamplesError):
        propose_task(write(tmp_path, reviews(4)), out)
    with pytest.raises(TooFewExamplesError):
        propose_task(write(tmp_path, [row | {"text": f"text {n % 3}"} for n, row in enumerate(reviews(40))]), out)
    assert not out.exists()


def test_the_test_file_beside_the_training_file_is_used(tmp_path: Path) -> None:
    """Guards official splits, and their row numbers, which often begin anew."""
    for name, count in (("test", 12), ("validation", 8)):
        rows = [{**one.fields, "label": one.label, "id": n} for n, one in enumerate(planted_examples(count, seed=9))]
        write(tmp_path, [row | {"text": f"{name} {row['text']}"} for row in rows], f"{name}.jsonl")
    document, task = made(tmp_path, reviews(id=lambda n: n), "train.jsonl")
    assert (document["data"]["test"], document["data"]["dev"]) == ("test.jsonl", "validation.jsonl")
    assert "uid" not in document["fields"]
    assert (len(task.test), len(task.dev), len(task.pool) + len(task.reward)) == (12, 8, 40)


def test_a_label_that_only_the_test_file_has_is_named(tmp_path: Path) -> None:
    """Guards against a task that cannot be loaded."""
    write(tmp_path, [*reviews(10), {"text": "odd", "label": "stale"}], "test.jsonl")
    with pytest.raises(UsageError, match="stale"):
        propose_task(write(tmp_path, reviews(), "train.jsonl"), tmp_path / "TASK.toml")


def test_rare_labels_stay_in_the_pool(tmp_path: Path) -> None:
    """Guards against a split whose pool lacks a label, which no task may have."""
    rows = [*reviews(60), {"text": "neither one", "label": "mixed"}]
    document, task = made(tmp_path, rows)
    assert set(task.pool.labels) == set(document["labels"]) == {"fresh", "rotten", "mixed"}


def test_a_failed_attempt_leaves_the_old_file(tmp_path: Path) -> None:
    """Guards a task file that a person has corrected."""
    out = tmp_path / "TASK.toml"
    out.write_text("mine")
    proposed = propose_task(write(tmp_path, reviews()), out)
    with pytest.raises(UsageError, match="--force"):
        write_task(proposed, out)
    (tmp_path / "rows.jsonl").unlink()
    with pytest.raises(DataFileError):
        write_task(proposed, out, force=True)
    assert [file.name for file in tmp_path.iterdir()] == ["TASK.toml"]
    assert out.read_text() == "mine"


TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)


@given(
    st.dictionaries(TEXTS, st.dictionaries(TEXTS, TEXTS | st.integers(0, 9) | st.lists(TEXTS), max_size=3), max_size=3)
)
def test_what_is_written_as_toml_is_read_again(document: dict[str, dict[str, Any]]) -> None:
    """Guards labels with quotes, backslashes, control characters or dots."""
    assert tomllib.loads(toml_text(document)) == document


LABELS = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp")), min_size=1, max_size=12)


@settings(max_examples=40)
@given(labels=st.lists(LABELS, min_size=2, max_size=4, unique=True), order=st.permutations(["text", "label", "other"]))
def test_every_file_of_labelled_texts_becomes_a_task_that_loads(
    labels: list[str], order: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Guards the law of the command: what it writes loads, with every label, whatever labels and columns look like."""
    values = {
        "text": lambda n: f"some text {n}",
        "label": lambda n: labels[n % len(labels)],
        "other": lambda n: f"o {n}",
    }
    rows = [{name: values[name](n) for name in order} for n in range(24)]
    document, task = made(tmp_path_factory.mktemp("law"), rows)
    assert document["fields"]["label"] == "label"
    assert set(task.template.labels) == set(labels) == set(task.pool.labels)
    assert min(map(len, (task.dev, task.test, task.reward))) > 0
    assert len(set(task.template.verbalizers.values())) == len(labels)


CELLS = st.one_of(
    st.sampled_from(["a", "b", "", " ", "yes", "1", "2.5", "some words here"]),
    st.sampled_from([0, 1, 2, 3.5, True, None, [], ["a", "b"], ["a", 1], [""], {"text": "a"}]),
    st.text(max_size=6),
    st.floats(),
)
NAMES = ["text", "label", "choices", "answer", "id", "rationale", "choice1", "choice2", "a b", "question", ""]


@settings(max_examples=150)
@given(data=st.data(), names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
def test_any_file_becomes_a_task_or_an_error_with_a_name(
    data: st.DataObject, names: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Guards against a traceback, or a task file that cannot be loaded, whatever a file holds."""
    columns = {name: data.draw(st.lists(CELLS, min_size=1, max_size=3)) for name in names}
    rows = [
        {
            name: f"{cells[0]} {n}" if data.draw(st.booleans()) else cells[n % len(cells)]
            for name, cells in columns.items()
        }
        for n in range(data.draw(st.integers(1, 14)))
    ]
    folder = tmp_path_factory.mktemp("any")
    try:
        _, task = made(folder, rows)
    except ShotsmithError:
        assert not (folder / "TASK.toml").exists()
    else:
        assert task.template.prompt([task.pool[0]], task.test[0])


@settings(max_examples=60)
@given(st.lists(st.tuples(*[st.sampled_from("abc")] * 4), min_size=12, max_size=40))
def test_no_column_of_few_values_that_tells_the_label_is_an_input(cells: list[tuple[str, ...]]) -> None:
    """Guards the law of the guess: a leak is left out."""
    rows = [{"text": f"t {n}", "label": row[0], "x": row[1], "y1": row[2], "z": row[3]} for n, row in enumerate(cells)]
    columns = {column.name: column for column in columns_of(rows)}
    try:
        found = guess(list(columns.values()))
    except OneLabelError:
        return
    target = columns[found.label]
    assert not [name for name in found.inputs if columns[name].closed and columns[name].tells(target)]


@pytest.mark.parametrize(
    ("name", "label", "inputs", "kind"),
    [
        ("cb", "label", ("premise", "hypothesis"), "labels"),
        ("trec6", "label", ("text",), "labels"),
        ("copa", "answer", ("premise", "question"), "choices"),
        ("aqua", "answer", ("question",), "choices"),
        ("svamp", "answer", ("question",), "text"),
        ("triviaqa", "answers", ("question",), "text"),
        ("geoquery_sql", "sql", ("question",), "text"),
        ("strategyqa", "answer", ("question",), "labels"),
        ("banking77", "label", ("text",), "labels"),
    ],
)
def test_real_data_sets(
    shared_data: Path, tmp_path: Path, name: str, label: str, inputs: tuple[str, ...], kind: str
) -> None:
    """Guards the guesses on files that people have."""
    out = tmp_path / "TASK.toml"
    proposed = propose_task(shared_data / name / "train.jsonl", out)
    task = write_task(proposed, out)
    fields = proposed.document["fields"]
    assert (fields["label"], tuple(fields["inputs"])) == (label, inputs)
    template = task.template
    assert kind == ("text" if template.free_text else "choices" if template.multiple_choice else "labels")
    assert task.test
    assert "test" in proposed.document["data"]


@pytest.mark.parametrize("name", ["train.jsonl", "test.jsonl"])
@pytest.mark.parametrize(
    ("text", "fragment"), [("[" * 100_000 + "]" * 100_000, "nested too deeply"), (r'"half \ud83d"', "line 41 .*UTF-8")]
)
def test_what_json_can_hold_and_no_task_can_is_named(tmp_path: Path, name: str, text: str, fragment: str) -> None:
    """Guards against tracebacks for depth without end, and for half a character in the data or beside it."""
    train = write(tmp_path, reviews(), "train.jsonl")
    write(tmp_path, reviews(), "test.jsonl")
    with (tmp_path / name).open("a", encoding="utf-8") as file:
        file.write(f'\n{{"text": {text}, "label": "fresh"}}')
    with pytest.raises(DataFileError, match=f"{name}.*{fragment}"):
        propose_task(train, tmp_path / "TASK.toml")
