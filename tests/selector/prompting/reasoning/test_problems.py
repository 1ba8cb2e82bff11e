"""Tests of reading problems, and of choosing which are shown."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from selector.errors import (
    DataFileError,
    InvalidExampleError,
    TooFewExamplesError,
    UnknownNameError,
    UsageError,
)
from selector.prompting.reasoning.answers import CHOICE, KINDS, NUMBER, TEXT, YES_NO
from selector.prompting.reasoning.problems import Problem, load_problems, problems_of
from selector.prompting.reasoning.shown import (
    WAYS,
    choose_demonstrations,
    fixed_demonstrations,
    with_rationale,
)
from selector.prompting.reasoning.trace import make_trace
from selector.prompting.reasoning.wording import last_question
from selector.prompting.reasoning.worked import WORKED, worked_demonstrations
from selector.testing import ToyEncoder
from selector.types import Example


def write(folder: Path, *rows: Any) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


@pytest.mark.parametrize(
    ("row", "kind", "answer"),
    [
        ({"question": "How many?", "answer": "1,000", "rationale": "so"}, NUMBER, "1000"),
        ({"question": "Is it?", "answer": "Yes"}, YES_NO, "yes"),
        ({"question": "Which?", "answer": 1, "choices": ["1", "2"]}, CHOICE, "B"),
        ({"question": "Which?", "answer": "b", "choices": ["x", "y"]}, CHOICE, "B"),
        ({"question": "Who?", "answer": "Bizet"}, TEXT, "Bizet"),
    ],
)
def test_the_kind_of_answer_is_told_from_the_rows(row: Any, kind: str, answer: str, tmp_path: Path) -> None:
    """Guards the four data sets against answers that are read by the rules of another one."""
    (problem,), found = load_problems(write(tmp_path, row), split="query")
    assert (found, problem.answer, problem.uid) == (kind, answer, "query-0")
    if kind == CHOICE:
        assert problem.question.endswith(f"(A) {row['choices'][0]} (B) {row['choices'][1]}")
        assert problem.choices == 2


@pytest.mark.parametrize(
    ("rows", "error", "fragment"),
    [
        ([], DataFileError, "no rows"),
        (["{"], DataFileError, "line 1 is not JSON"),
        (["[1]"], DataFileError, "line 1"),
        ([{"question": "How?", "answer": "1", "parts": [["a"]]}], InvalidExampleError, "parts"),
        ([{"question": "How?", "answer": "1", "choices": ["x"] * 27}], InvalidExampleError, "choices"),
        ([{"question": " ", "answer": "1"}], InvalidExampleError, "question"),
        ([{"question": "Which?", "answer": "N", "choices": ["x", "y"]}], InvalidExampleError, "up to B"),
        ([{"question": "How many?"}], UsageError, "no kind"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(rows: Any, error: type[Exception], fragment: str, tmp_path: Path) -> None:
    """Guards users of --data and --queries against a traceback."""
    with pytest.raises(error, match=fragment):
        load_problems(write(tmp_path, *rows))
    with pytest.raises(DataFileError, match="there is no file"):
        load_problems(tmp_path / "nowhere.jsonl")


def test_line_separators_within_a_question_end_no_row(tmp_path: Path) -> None:
    """Guards gsm8k, where a question holds U+2028: its row was cut in two."""
    path = tmp_path / "rows.jsonl"
    path.write_text('{"question": "How\u2028many?", "answer": "1"}\r\n', encoding="utf-8")
    assert load_problems(path)[0][0].question == "How\u2028many?"


def test_parts_and_unanswered_questions_are_read(tmp_path: Path) -> None:
    """Guards demonstrations of one's own for Self-Ask, and queries that have no gold answer."""
    path = write(tmp_path, {"question": "How many?", "parts": [["First?", "2"]]}, {"question": "And now?"})
    problems, _ = load_problems(path, kind=NUMBER)
    assert problems[0].parts == (("First?", "2"),)
    assert [problem.answer for problem in problems] == [None, None]


def test_the_rationale_of_an_example_is_no_part_of_its_question() -> None:
    """Guards against a rationale that leaks into the question and gives the answer away."""
    example = Example("a", {"question": "How many?"}, "2", rationale="1 + 1 = 2.")
    (problem,) = problems_of([example], NUMBER)
    assert (problem.question, problem.rationale, problem.answer) == ("How many?", "1 + 1 = 2.", "2")
    assert problem.example().fields == {"question": "How many?"}


def test_the_choices_of_an_example_are_lettered() -> None:
    """Guards tasks with choices, whose labels are texts: none of them was a letter."""
    example = Example("a", {"question": "How many?"}, "12", choices=("7", "12"))
    (problem,) = problems_of([example], CHOICE)
    assert (problem.question, problem.answer) == ("How many?\nAnswer choices: (A) 7 (B) 12", "B")
    assert problem.choices == 2
    with pytest.raises(InvalidExampleError, match="27 choices"):
        problems_of([replace(example, choices=tuple(map(str, range(27))))], CHOICE)


@pytest.mark.parametrize("way", WAYS)
def test_a_question_is_never_shown_with_itself(way: str, problems: list[Problem]) -> None:
    """Guards leave-one-out: a duplicate under another uid would show the answer."""
    shown = choose_demonstrations(way, problems, 3, encoder=ToyEncoder, seed=1)
    for problem in problems:
        asked = Problem("query", problem.question.upper() + " ")
        found = shown(asked)
        assert 2 <= len(found) <= 3
        assert problem not in found
        assert found == shown(asked)


def test_fixed_demonstrations_are_drawn_by_the_seed(problems: list[Problem], asked: Problem) -> None:
    """Guards comparisons of methods: direct and chain of thought must see the same demonstrations."""
    draws = [choose_demonstrations("fixed", problems, 4, encoder=ToyEncoder, seed=seed)(asked) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    assert choose_demonstrations("nearest", problems, 0, encoder=ToyEncoder)(asked) == []
    assert fixed_demonstrations(problems[:2])(asked) == problems[:2]


def test_too_few_demonstrations_and_unknown_ways_are_named(problems: list[Problem]) -> None:
    """Guards --shots and --choose."""
    with pytest.raises(TooFewExamplesError):
        choose_demonstrations("fixed", problems, 9, encoder=ToyEncoder)
    with pytest.raises(UnknownNameError, match="closest"):
        choose_demonstrations("closest", problems, 1, encoder=ToyEncoder)
    with pytest.raises(UsageError, match="rationale"):
        with_rationale([Problem("a", "How many?", "1")])


@pytest.mark.parametrize("kind", KINDS)
def test_worked_demonstrations_serve_where_none_are_given(kind: str, problems: list[Problem]) -> None:
    """Guards the problems taken apart by hand: at least two for each kind, each with parts and an answer."""
    assert worked_demonstrations(problems, kind, 4) == list(WORKED[kind])
    assert len(WORKED[kind]) >= 2
    assert all(problem.parts and problem.answer for problem in WORKED[kind])
    own = Problem("own", "How many?", "1", parts=(("First?", "1"),))
    assert worked_demonstrations([*problems, own], kind, 4) == [own]


@pytest.mark.parametrize(
    ("question", "last"),
    [
        ("Ann ran 3.5 miles. How far in 2 days?", "How far in 2 days?"),
        ("How far is it?\nAnswer choices: (A) 1? (B) 2", "How far is it?"),
        ("Compute the sum of 1 and 2.", "Compute the sum of 1 and 2."),
    ],
)
def test_what_a_problem_asks_in_the_end(question: str, last: str) -> None:
    """Guards the last step of Least-to-Most against asking a half sentence or one of the choices."""
    assert last_question(Problem("a", question)) == last


@pytest.mark.parametrize(
    ("answer", "rule", "right"),
    [
        ("the moon", "words", True),
        ("Luna!", "words", True),
        ("Luna", "text", True),
        ("the moon", "text", False),
        ("Mars", "words", False),
        (None, "words", False),
    ],
)
def test_an_answer_counts_as_the_task_says(answer: str | None, rule: str, right: bool) -> None:
    """Guards aliases and the task's own comparison: `predict` counted answers right that `reason` did not."""
    example = Example("q", {"question": "What goes around the earth?"}, "Moon", aliases=("Luna",))
    (problem,) = problems_of([example], TEXT, answer_rule=rule)
    assert make_trace(problem, "direct", [], answer, kind=TEXT).right is right
    (number,) = problems_of([replace(example, label="3", aliases=("4",))], NUMBER, answer_rule="number")
    assert make_trace(number, "direct", [], "4", kind=NUMBER).right is False
