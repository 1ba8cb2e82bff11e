"""Tests of calibration by random words of the domain."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from selector.errors import UsageError
from selector.inference.calibration import domain_calibrated, domain_inputs, log_softmax


def test_domain_inputs_are_words_of_their_field() -> None:
    """Guards against words of one field in another, and against inputs of another length than the domain's."""
    rows = [{"first": "a b c", "second": "x"}, {"first": "d", "second": "y y z"}]
    made = domain_inputs(rows, count=50, seed=3)
    assert made == domain_inputs(rows, count=50, seed=3)
    assert made != domain_inputs(rows, count=50, seed=4)
    assert {len(own["first"].split()) for own in made} == {2}
    assert set(" ".join(own["first"] for own in made).split()) == set("abcd")
    counts = Counter(" ".join(own["second"] for own in made).split())
    assert counts["y"] > counts["x"]  # twice as common in the domain
    with pytest.raises(UsageError):
        domain_inputs([])


def test_a_bias_of_the_prompt_cancels() -> None:
    """Guards the formula: what shifts labels for every input alike leaves no trace, and what differs stays."""
    rng = np.random.default_rng(0)
    scores, bias = rng.normal(size=(4, 3)), np.array([3.0, -1.0, 0.0])
    flat = np.zeros((4, 20, 3))
    calibrated = log_softmax(domain_calibrated(scores + bias, flat + bias))
    assert calibrated == pytest.approx(log_softmax(scores))
    assert domain_calibrated(scores, flat) == pytest.approx(log_softmax(scores) + np.log(3))
