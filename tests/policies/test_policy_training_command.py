"""Tests of train-policy: what it refuses before anything is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from policies.cli import app, policy_training

OWN = {
    "per-query": {"--shortlist": "16", "--warm-start": "none"},
    "corpus": {"--candidates": "100", "--reward-queries": "5", "--episodes": "5", "--online-episodes": "0"},
}
CASES = [(env, name, value) for env, options in OWN.items() for name, value in options.items()]


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The settings of what was trained; nothing is."""
    given: list[dict[str, Any]] = []

    def train(workspace: object, out: Path, env: str, settings: dict[str, Any], **_: object) -> Path:
        given.append(settings)
        return out

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(policy_training, "_trained", train)
    return given


def train(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["train-policy", "--task", "rotten-tomatoes", "--out", "run", *arguments])


@pytest.mark.parametrize(("env", "name", "value"), CASES)
def test_an_option_of_the_other_environment_is_refused(
    trained: list[dict[str, Any]], env: str, name: str, value: str
) -> None:
    """Guards options that were taken and ignored, even where they only repeat the default."""
    other = next(one for one in OWN if one != env)
    refused = train("--env", other, name, value)
    assert refused.exit_code == 2
    assert f"{name} was given with --env {other}; expected it with --env {env} alone" in refused.stderr
    assert not trained
    assert train("--env", env, name, value).exit_code == 0
    assert len(trained) == 1


def test_options_of_the_configuration_are_for_whom_they_fit(trained: list[dict[str, Any]]) -> None:
    """Guards a file that sets options of both environments: it holds for every run in its folder."""
    Path("shotsmith.toml").write_text('[train-policy]\nepisodes = 7\nwarm-start = "oracle"\npatience = 2\n')
    for env, name, value in (("corpus", "episodes", 7), ("per-query", "warm_start", "oracle")):
        result = train("--env", env)
        assert result.exit_code == 0, result.output
        assert trained[-1][name] == value
        assert trained[-1]["patience"] == 2
