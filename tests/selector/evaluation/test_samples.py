"""Tests of samples: which queries the page holds, and that numbers point at what they should."""

import json

import pytest

from selector.data.pool import Pool
from selector.evaluation import samples
from selector.evaluation.samples import first_runs, inline_json, report_data, spread
from selector.types import Example


def test_answers_show_demonstrations_in_prompt_order(comparison, hostile_engine, hostile_queries) -> None:
    """Guards against a report whose order is not the prompt's, or that shows another method's demonstrations."""
    data = report_data([comparison], hostile_engine.pool, hostile_queries)
    run = data["runs"]["2"]
    assert [data["methods"][number] for number in run["methods"]] == [entry.method for entry in comparison.summary]
    texts = {example.uid: [example.label, example.fields["text"]] for example in hostile_engine.pool}
    for row_at, row in enumerate(first_runs(comparison).values()):
        for outcome, answers in zip(row.outcomes, run["answers"], strict=True):
            predicted, right, _, _, demonstrations = answers[row_at]
            assert [data["demonstrations"][number] for number in demonstrations] == [
                texts[uid] for uid in outcome.demonstrations
            ]
            assert (predicted, bool(right)) == (outcome.predicted, outcome.correct)


def test_methods_with_seeds_show_their_first_run_and_count_all(comparison, hostile_engine, hostile_queries) -> None:
    """Guards against the last seed in the list, and against a matrix that holds one seed of several."""
    assert first_runs(comparison)["random"].seed == 0
    data = report_data([comparison], hostile_engine.pool, hostile_queries)
    counts = {
        data["methods"][number]: sum(count for _, _, count in pairs)
        for number, pairs in data["runs"]["2"]["confusion"].items()
    }
    assert counts == {"random": 60, "zero": 30, "[bold]<b>gold": 30}


def test_each_demonstration_is_written_once(comparison, hostile_engine, hostile_queries) -> None:
    """Guards against a page that grows with queries times methods times shots."""
    data = report_data([comparison], hostile_engine.pool, hostile_queries)
    assert len(data["demonstrations"]) <= len(hostile_engine.pool)


def test_long_texts_do_not_swell_the_page(
    comparison, hostile_engine, hostile_queries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against a report of news articles that no browser opens."""
    swollen = Pool(
        Example(example.uid, {"text": example.fields["text"] + "x" * 5000}, example.label)
        for example in hostile_engine.pool
    )
    data = report_data([comparison], swollen, hostile_queries)
    assert len(data["queries"]) == 30
    for _, text in data["demonstrations"]:
        assert len(text) < 1600
        assert text.endswith(" more)")
    monkeypatch.setattr(samples, "LARGEST_SAMPLE", 1000)
    assert len(report_data([comparison], swollen, hostile_queries)["queries"]) == 1


def test_samples_are_spread() -> None:
    """Guards against a sample of one label where the file is sorted by label."""
    assert spread(100, 4) == [0, 25, 50, 75]
    assert spread(3, 24) == [0, 1, 2]
    assert spread(0, 24) == []


def test_json_cannot_leave_its_element() -> None:
    """Guards against text that ends the script element, or opens a comment in which the end is not seen."""
    content = {"text": "</script><!--<script>&amp; \u2028 \u00e9"}
    written = inline_json(content)
    assert not set(written) & {"<", ">", "&"}
    assert json.loads(written) == content
