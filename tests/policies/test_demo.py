"""Tests of the demo's parts; the whole demo is `make demo`."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from policies.demo import DemoConfig, check_fresh_process, comparison_plan, policy_config, run_demo
from selector.errors import ShotsmithError
from selector.workspace import Workspace


def test_the_demo_compares_what_was_learned_with_what_needs_no_learning() -> None:
    """Guards the rows that the demo promises, the entropy order of the policy's choice among them."""
    plan = comparison_plan(DemoConfig(), Path("out/epr"), Path("out/rl"))
    names = [Path(method).name for method in plan.methods]
    assert names == [
        *("random", "bm25", "nearest", "best-of-k", "epr", "rl", "rl+locale"),
        *("label-vote", "logreg", "majority"),
    ]
    assert plan.baseline in names


def test_policy_training_of_the_demo_divides_into_batches() -> None:
    """Guards the demo's own settings against the checks of training."""
    config = policy_config(DemoConfig())
    assert config.total_steps % (config.copies * config.rollout_steps) == 0
    assert config.shots == DemoConfig().shots


def test_a_fresh_process_that_fails_is_named(tmp_path: Path) -> None:
    """Guards against a traceback of the child where the artifact is missing."""
    with pytest.raises(ShotsmithError):
        check_fresh_process(Workspace.open("rotten-tomatoes"), tmp_path / "absent", DemoConfig())


@pytest.mark.slow
@pytest.mark.bundled
def test_a_smaller_demo_runs_to_its_table_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the whole story on real models: every stage, the fresh process, the files, and a quick second run."""
    monkeypatch.setenv("SHOTSMITH_CACHE", str(tmp_path / "cache"))
    small = DemoConfig(queries=6, mined=8, candidates=4, reward_queries=4, steps=128, shots=2, search_queries=3)
    console = Console(record=True, width=150)
    first = run_demo(tmp_path / "out", config=small, console=console)
    text = console.export_text()
    assert "6 of 6 selections are identical" in text
    assert "in prompt order" in text
    for name in ("results.json", "per_query.csv", "report.html", "rl/manifest.json", "epr/shotsmith.json"):
        assert (tmp_path / "out" / name).is_file()
    second = run_demo(tmp_path / "out", config=small, console=Console(quiet=True))
    assert (first.reused, second.reused) == (0, second.runs)
    assert second.comparison.rows == first.comparison.rows
