"""Tests of sections: what the report says in words and tables."""

import re
from dataclasses import replace

import numpy as np

from selector.evaluation.sections import facts, result_rows, set_rows, verdict_card, verdicts_by_shots
from selector.evaluation.stability import stability_report
from selector.types import Selection


def test_the_card_names_what_the_verdict_recommends(planted_comparisons) -> None:
    """Guards against a card that praises the best row: an upper bound, or a dear method that is not clearly better."""
    [comparison], _, queries = planted_comparisons((2,), count=20)
    card = verdict_card(comparison)
    assert comparison.summary[0].method == "oracle"
    assert f"<h2>Use <em>{comparison.verdict.recommended}</em></h2>" in card
    assert comparison.verdict.sentence in card
    entry = next(own for own in comparison.summary if own.method == comparison.verdict.recommended)
    assert f"<b>{entry.tokens / len(queries):,.0f}</b>" in card
    assert "<h2>Best <em>oracle</em></h2>" in verdict_card(replace(comparison, verdict=None))


def test_the_table_says_how_each_method_stands(planted_comparisons) -> None:
    """Guards against a table that contradicts the verdict's sentence."""
    [comparison], _, _ = planted_comparisons((2,), count=20)
    rows = re.findall(
        r'<th scope="row" title="([^"]*)">.*?</th><td>.*?</td><td>.*?</td><td>(.*?)</td>', result_rows(comparison)
    )
    standing = dict(rows)
    assert list(standing) == [entry.method for entry in comparison.summary]
    assert [name for name, said in rows if said == "use"] == [comparison.verdict.recommended]
    assert standing["oracle"] == "upper bound"
    passed = {name for name, said in rows if said in ("use", "not clearly worse")}
    assert passed == set(comparison.verdict.not_worse)


def test_every_number_of_shots_has_its_word(planted_comparisons) -> None:
    """Guards against readers who see the verdict for the most shots only."""
    [comparison], _, _ = planted_comparisons((2,), count=20)
    other = replace(comparison, shots=4, verdict=replace(comparison.verdict, recommended="<zero>"))
    name = comparison.verdict.recommended
    assert f"The method to use at 2 shots: {name}; at 4 shots: &lt;zero&gt;." in verdicts_by_shots([comparison, other])
    assert f"{name} is the method to use at every" in verdicts_by_shots([comparison, replace(comparison, shots=4)])
    assert verdicts_by_shots([comparison]) == ""


def test_sets_show_their_best_order() -> None:
    """Guards against the order of another row."""
    orders = [[Selection.of(3, 1, 2), Selection.of(1, 2, 3)]]
    report = stability_report(orders, [np.array([[True, False, False, False], [True, True, True, False]])])
    cells = re.findall(r"<td>(.*?)</td>", set_rows(report))
    assert cells[:4] == ["2", "25.0", "50.0", "75.0"]
    assert cells[-1] == "1, 2, 3"


def test_facts_leave_out_what_is_not_known(comparison) -> None:
    """Guards against rows that say None."""
    text = facts([comparison], 30, {"command": "shotsmith compare <x>", "seeds": [0, 1]})
    assert "None" not in text
    assert "<dt>seeds</dt><dd>0, 1</dd>" in text
    assert "<code>shotsmith compare &lt;x&gt;</code>" in text
    assert "language model" not in text
