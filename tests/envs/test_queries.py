"""Tests of the queries that environments and trainings take, and of tasks without reward queries."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import numpy as np
import pytest

from envs.queries import training_queries
from policies.corpus_config import CorpusTrainingConfig
from policies.corpus_stage import train_corpus_policy_on
from policies.policy_config import PolicyTrainingConfig
from policies.stages import train_policy_on
from selector.data.task import Task
from selector.errors import EmptyPoolError, UnknownNameError
from selector.inference.engine import InferenceEngine
from selector.testing import ToyEncoder, ToyLanguageModel, planted_examples
from selector.workspace import Workspace

PER_QUERY, CORPUS = "envs:shotsmith/DemoSelection-v0", "envs:shotsmith/CorpusSelection-v0"


def workspace(folder: Path, *, dev: int = 8) -> Workspace:
    """A task without reward queries over planted reviews, with the toy models."""
    rows = [f'{{"text": "{example.fields["text"]}", "label": "{example.label}"}}' for example in planted_examples(40)]
    (folder / "train.jsonl").write_text("\n".join(rows))
    (folder / "task.toml").write_text(
        f'[data]\ntrain = "train.jsonl"\ntest_size = 5\nreward_size = 0\ndev_size = {dev}\n'
        '[fields]\ninputs = ["text"]\nlabel = "label"\n[prompt]\ntemplate = "Review: {text}\\nSentiment:{label}"\n'
    )
    own = Workspace(Task.load(folder / "task.toml"))
    engine = InferenceEngine(ToyLanguageModel(), own.task.template, own.task.pool)
    vars(own).update(engine=engine, encoder=ToyEncoder())  # in place of what would be loaded
    return own


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Workspace]:
    """The workspaces that environments open; all of the task without reward queries."""
    found: list[Workspace] = []

    def open_toy(*_: object, **__: object) -> Workspace:
        found.append(workspace(tmp_path))
        return found[-1]

    monkeypatch.setattr(Workspace, "open", open_toy)
    return found


def test_reward_queries_are_lent_by_dev_only_where_there_are_none() -> None:
    """Guards tasks with reward queries, whose splits must stay, and that none rewards and judges."""
    rows = planted_examples(9)
    assert training_queries(rows[:3], rows[3:]) == (tuple(rows[:3]), tuple(rows[3:]))
    assert training_queries((), rows[:8]) == (tuple(rows[:6]), tuple(rows[6:8]))
    assert training_queries((), rows[:2]) == (tuple(rows[:1]), tuple(rows[1:2]))
    with pytest.raises(UnknownNameError, match="reward, dev"):
        training_queries((), rows).of_split("test")


def test_a_task_without_reward_queries_says_what_it_lacks() -> None:
    """Guards the message: "supply queries" did not say which, or where."""
    with pytest.raises(EmptyPoolError, match=r"\[data\] reward_size"):
        training_queries((), planted_examples(1))


def test_both_policies_train_on_a_task_without_reward_queries(tmp_path: Path) -> None:
    """Guards `train-policy --task trec6` and fourteen other presets, which have dev queries alone."""
    own = workspace(tmp_path)
    per_query = PolicyTrainingConfig(
        shots=2, shortlist_size=4, total_steps=32, copies=4, rollout_steps=4, batch_size=16
    )
    run = train_policy_on(own, tmp_path / "per-query", retriever=None, config=per_query)
    corpus = CorpusTrainingConfig(shots=2, candidates=4, episodes=4, steps=8, online_episodes=0)
    other = train_corpus_policy_on(own, tmp_path / "corpus", retriever=None, config=corpus)
    assert (run / "metrics.jsonl").is_file()
    assert (other / "metrics.jsonl").is_file()


@pytest.mark.parametrize(("name", "size"), [(PER_QUERY, "shortlist_size"), (CORPUS, "candidates")])
def test_environments_need_no_reward_queries(name: str, size: str, opened: list[Workspace]) -> None:
    """Guards `gymnasium.make` of most presets, which failed by default."""
    for split in ("reward", "dev"):
        env = gymnasium.make(name, task="toy", split=split, shots=2, **{size: 4})
        env.reset(seed=0)
        env.step(0)
    [dev] = {len(own.task.dev) for own in opened}
    assert dev == 8
    queries = gymnasium.make(PER_QUERY, task="toy", shots=2, shortlist_size=4).unwrapped.problem.shortlists
    assert len(queries) == 6


@pytest.mark.parametrize(("name", "size"), [(PER_QUERY, "shortlist_size"), (CORPUS, "candidates")])
@pytest.mark.parametrize("mode", [None, "vector_entry_point"])
def test_one_engine_serves_all_copies(name: str, size: str, mode: str | None, opened: list[Workspace]) -> None:
    """Guards memory and speed: sixteen copies loaded sixteen language models, and asked each by itself."""
    copies = gymnasium.make_vec(name, num_envs=16, vectorization_mode=mode, task="toy", shots=2, **{size: 4})
    assert isinstance(copies, gymnasium.vector.VectorEnv)
    assert copies.num_envs == 16
    observations, _ = copies.reset(seed=0)
    assert copies.observation_space.contains(observations)
    [own] = opened
    asked: list[int] = []
    score = own.engine.lm.logprobs
    own.engine.lm.logprobs = lambda prompts, completions: asked.append(1) or score(prompts, completions)  # type: ignore[func-returns-value, method-assign]
    _, rewards, terminated, _, _ = copies.step(np.zeros(16, dtype=np.int64))
    assert rewards.shape == terminated.shape == (16,)
    assert len(asked) == 1
