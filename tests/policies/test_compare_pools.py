"""Tests of comparisons over several pools: the option, and what cannot be compared so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from policies import comparison
from policies.cli import app
from selector.errors import UsageError


def test_the_option_says_how_many(tmp_path: Path, planted_task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards an option that is taken and ignored."""
    plans: list[Any] = []

    def compared(*_: object, plan: comparison.ComparisonPlan, **__: object) -> None:
        plans.append(plan)
        raise UsageError("enough", expected="no more", remedy="Stop.")

    monkeypatch.setattr(comparison, "compare_methods", compared)
    common = ["compare", "--task", str(planted_task), "--out", str(tmp_path / "out"), "--quiet"]
    for more in ([], ["--pools", "3"]):
        assert CliRunner().invoke(app, [*common, *more]).exit_code == 2
    assert [plan.pools for plan in plans] == [1, 3]
    assert CliRunner().invoke(app, [*common, "--pools", "0"]).exit_code == 2


def test_what_names_members_cannot_choose_from_other_pools(tmp_path: Path, planted_task: Path) -> None:
    """Guards a message that calls right uids wrong, because another pool was drawn."""
    command = ["compare", "--task", str(planted_task), "--methods", "nearest,fixed:train-1", "--pools", "2"]
    refused = CliRunner().invoke(app, [*command, "--shots", "1", "--out", str(tmp_path / "out"), "--quiet"])
    assert refused.exit_code == 2
    assert "fixed:train-1 names members of the task's own pool" in refused.stderr
