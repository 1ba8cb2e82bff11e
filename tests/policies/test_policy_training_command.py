"""Tests of train-policy: what it refuses before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from policies.cli import app, policy_training
from policies.cli.settings import settings_from, settings_of_each
from policies.corpus_config import CorpusTrainingConfig
from policies.policy_config import PolicyTrainingConfig
from policies.warmup_config import WarmUpConfig
from selector.errors import UnknownNameError
from selector.prompting.generation import GenerationConfig
from selector.prompting.instructions import InductionConfig
from selector.prompting.reasoning.auto_cot import AutoCoTConfig
from selector.prompting.reasoning.chain import ReasoningConfig
from selector.prompting.reasoning.self_consistency import SamplingConfig
from selector.testing import ToyEncoder, ToyLanguageModel
from selector.workspace import Workspace

OWN = {
    "per-query": {"--also": "bbc-news", "--shortlist": "16", "--warm-start": "none"},
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


def test_every_setting_can_be_given(trained: list[dict[str, Any]]) -> None:
    """Guards settings without an option of their own: each by its type, and no misspelt one in silence."""
    pairs = ("learning_rate=1e-3", "evaluate-every=4", "dense=True", "patience=none", "warm_start=none")
    result = train(*(part for pair in pairs for part in ("--set", pair)))
    assert result.exit_code == 0, result.output
    wanted = {"learning_rate": 1e-3, "evaluate_every": 4, "dense": True, "patience": None, "warm_start": "none"}
    assert {name: trained[-1][name] for name in wanted} == wanted
    for pair, found in (
        ("learning_rte=1", "learning_rate"),
        ("epochs", "NAME=VALUE"),
        ("epochs=few", "a whole number"),
        ("dense=1", "true or false"),
        ("patience=1.5", "a whole number or none"),
    ):
        refused = train("--set", pair)
        assert (refused.exit_code, found in refused.stderr) == (2, True), refused.stderr
    assert train("--env", "corpus", "--set", "conservative=0.5").exit_code == 0
    assert trained[-1]["conservative"] == 0.5
    assert len(trained) == 2


def test_other_tasks_are_trained_on_with_the_same_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards --also: tasks by name or file, in order, one language model and encoder for all."""
    seen: list[Any] = []

    def train(workspace: Workspace, out: Path, *, also: Sequence[Workspace], **_: object) -> Path:
        seen.extend([workspace, *also])
        return out

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("policies.stages.train_policy_on", train)
    monkeypatch.setattr("selector.workspace.load_language_model", lambda *_, **__: ToyLanguageModel())
    monkeypatch.setattr("selector.workspace.SentenceEncoder.load", lambda _: ToyEncoder())
    result = CliRunner().invoke(
        app, ["train-policy", "--task", "rotten-tomatoes", "--out", "run", "--also", "bbc-news", "--quiet"]
    )
    assert result.exit_code == 0, result.output
    assert [one.task.name for one in seen] == ["rotten-tomatoes", "bbc-news"]
    first, second = seen
    assert first.engine.lm is second.engine.lm
    assert first.encoder is second.encoder
    assert second.engine.pool is second.task.pool


@pytest.mark.parametrize(
    "configuration",
    [
        *(PolicyTrainingConfig, CorpusTrainingConfig, WarmUpConfig, InductionConfig, GenerationConfig),
        *(ReasoningConfig, SamplingConfig, AutoCoTConfig),
    ],
)
def test_every_default_can_be_said(configuration: type[Any]) -> None:
    """Guards a setting of a type that the command line cannot read."""
    default = configuration()
    pairs = [f"{field.name}={getattr(default, field.name)}" for field in fields(default)]
    assert configuration(**settings_from(pairs, configuration)) == default


def test_settings_find_the_configuration_that_has_them() -> None:
    """Guards commands that several configurations serve: a setting must reach its own, and a wrong name be told."""
    pairs = ["part-tokens=9", "top_k=3", "steps=2", "seed=4"]
    found = settings_of_each(pairs, ReasoningConfig, SamplingConfig, AutoCoTConfig)
    assert found == [{"part_tokens": 9}, {"top_k": 3, "seed": 4}, {"steps": 2}]
    with pytest.raises(UnknownNameError, match="temprature"):
        settings_of_each(["temprature=1"], ReasoningConfig, SamplingConfig)
