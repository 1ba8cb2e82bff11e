"""Tests of training: does it learn, does it resume, what does it leave behind."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.demonstrations import query_problem
from envs.dynamics import DecisionConfig, DecisionProblem
from envs.planted import planted_problem
from envs.vector import VectorDemoSelection
from policies.checkpoint_folder import latest_checkpoint
from policies.export import check_parity, export_policy
from policies.planted_study import permutation_p, run_planted_study
from policies.policy_config import PolicyTrainingConfig
from policies.ppo import parity_states, train_policy
from policies.runs import Provenance, read_best, read_run
from policies.vectorised import MaskedVecEnv
from selector.errors import ArtifactError, ArtifactMismatchError, UsageError
from selector.inference.engine import InferenceEngine
from selector.learned.artifact import read_artifact
from selector.learned.rollout import greedy_rollout
from selector.retrieval.encoder import SentenceEncoder
from selector.strategies.dense import NearestSelector
from selector.testing import ToyEncoder, ToyLanguageModel, planted_examples, planted_pool, planted_template
from selector.types import Selection

PROVENANCE = Provenance("all-minilm-l6-v2", labelled_demonstrations=False, fingerprints={"pool": "p"})


def small(**changes: object) -> PolicyTrainingConfig:
    settings = {
        "shots": 2,
        "shortlist_size": 6,
        "total_steps": 256,
        "copies": 8,
        "rollout_steps": 4,
        "batch_size": 16,
        "learning_rate": 1e-3,
        "dense": True,
        "warm_start": "none",
        "evaluate_every": 2,
        "similarity_weight": 0.0,
    }
    return PolicyTrainingConfig(**(settings | changes))  # type: ignore[arg-type]


def train(out: Path, config: PolicyTrainingConfig, **options: object) -> Path:
    problem, _ = planted_problem()
    return train_policy(problem, problem, out=out, config=config, provenance=PROVENANCE, **options)  # type: ignore[arg-type]


def weights(run: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    place = latest_checkpoint(run / "checkpoints")
    assert place is not None
    return load_file(place / "policy.safetensors")


def test_ppo_reaches_the_planted_optimum() -> None:
    """Guards that anything is learned: at least 90 % of the brute-forced optimum, better than chance at p < 0.01."""
    figures = run_planted_study(seed=0, steps=12_288)
    assert figures["share"] >= 0.9, figures
    assert figures["p"] < 0.01, figures
    assert figures["random"] < 0.3 * figures["optimum"], figures


def test_resumed_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    """Guards resume after a kill: weights, moments, generators, running episodes and counters all come back."""
    whole = train(tmp_path / "whole", small())

    class KilledError(Exception):
        pass

    class KillsAt:
        def __init__(self, steps: int) -> None:
            self.left = steps

        def track(self, description: str, total: int):  # type: ignore[no-untyped-def]
            from contextlib import contextmanager

            def advance(steps: int) -> None:
                self.left -= steps
                if self.left < 0:
                    raise KilledError

            @contextmanager
            def bar():  # type: ignore[no-untyped-def]
                yield advance

            return bar()

    with pytest.raises(KilledError):
        train(tmp_path / "cut", small(), progress=KillsAt(100))
    assert weights(tmp_path / "cut").keys() == weights(whole).keys()
    assert any(not torch.equal(weights(tmp_path / "cut")[name], tensor) for name, tensor in weights(whole).items())
    train(tmp_path / "cut", small())
    assert all(torch.equal(weights(tmp_path / "cut")[name], tensor) for name, tensor in weights(whole).items())
    read = [json.loads(line) for line in (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()]
    want = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [(line["steps"], line["dev_potential"]) for line in read] == [
        (line["steps"], line["dev_potential"]) for line in want
    ]


def test_the_same_seed_trains_the_same_policy(tmp_path: Path) -> None:
    """Guards determinism, that the seed matters, and the caller's random numbers."""
    expected = [random.Random(5).random(), np.random.RandomState(5).rand()]
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    first, second = train(tmp_path / "a", small()), train(tmp_path / "b", small())
    other = train(tmp_path / "c", small(seed=1))
    assert [random.random(), np.random.rand()] == expected  # noqa: NPY002
    assert all(torch.equal(weights(second)[name], tensor) for name, tensor in weights(first).items())
    assert any(not torch.equal(weights(other)[name], tensor) for name, tensor in weights(first).items())


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    """Guards the second `make demo`: resuming a finished run must change nothing and take no steps."""
    run = train(tmp_path / "run", small())
    before = weights(run)
    train(run, small())
    assert all(torch.equal(weights(run)[name], tensor) for name, tensor in before.items())


def test_another_configuration_needs_another_folder(tmp_path: Path) -> None:
    """Guards against a run whose first half was trained otherwise."""
    run = train(tmp_path / "run", small(total_steps=64))
    with pytest.raises(UsageError, match="learning_rate"):
        train(run, small(total_steps=64, learning_rate=0.5))
    train(run, small(total_steps=64, learning_rate=0.5), resume=False)
    assert read_run(run)["config"]["learning_rate"] == 0.5
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="other files"):
        train(tmp_path / "other", small())
    assert (tmp_path / "other" / "notes.txt").read_text() == "mine"


def test_impossible_batches_are_refused() -> None:
    """Guards stable-baselines3's truncated minibatch, which it only warns about."""
    with pytest.raises(UsageError, match="multiple of batch_size"):
        small(batch_size=24)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, 0) for name in ("shots", "shortlist_size", "total_steps", "copies", "rollout_steps", "epochs")),
        *((name, 0) for name in ("batch_size", "evaluate_every", "hidden", "patience", "max_per_label")),
        *(("token_budget", 0), ("warm_start_epochs", 0), ("warm_start_queries", -1), ("batch_size", 1)),
        *(("learning_rate", 0.0), ("clip_range", -1.0), ("gae_lambda", 1.5), ("token_cost", -0.1)),
        *(("learning_rate", float("inf")), ("entropy_coefficient", float("nan")), ("seed", -1)),
    ],
)
def test_a_setting_that_cannot_work_is_refused_by_name(name: str, value: float) -> None:
    """Guards library use, which no option of the command line checks: each ended in a traceback or learned nothing."""
    with pytest.raises(UsageError, match=f"^{name} is {value}; expected "):
        small(**{name: value})


def test_a_run_leaves_curves_metrics_and_the_best_weights(tmp_path: Path) -> None:
    """Guards what people look at: TensorBoard events, metrics.jsonl, and best weights no worse than any evaluation."""
    run = train(tmp_path / "run", small())
    assert list((run / "tensorboard").glob("events*"))
    values = [json.loads(line)["dev_potential"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert read_best(run).metrics["dev_potential"] == max(values)
    assert len(list((run / "checkpoints").iterdir())) == 1


def test_patience_ends_training_and_a_stopped_run_is_finished(tmp_path: Path) -> None:
    """Guards early stopping: as many evaluations as told without a better one, best weights kept, no step on resume."""
    config = small(total_steps=4096, patience=2, learning_rate=1e-9, evaluate_every=1)
    run = train(tmp_path / "run", config)
    lines = (run / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["steps"] for line in lines]
    values = [json.loads(line)["dev_potential"] for line in lines]
    assert steps == [0, 32, 64]
    assert values.index(max(values)) == 0
    assert read_best(run).metrics["steps"] == 0
    train(run, config)
    assert (run / "metrics.jsonl").read_text().splitlines() == lines


def test_patience_counts_on_after_a_kill(tmp_path: Path) -> None:
    """Guards a resumed run that would wait for its patience anew."""
    config = small(total_steps=4096, patience=3, learning_rate=1e-9, evaluate_every=1)

    class KilledError(Exception):
        pass

    class Kills:
        def track(self, description: str, total: int):  # type: ignore[no-untyped-def]
            from contextlib import contextmanager

            taken = 0

            def advance(steps: int) -> None:
                nonlocal taken
                taken += steps
                if taken > 70:
                    raise KilledError

            @contextmanager
            def bar():  # type: ignore[no-untyped-def]
                yield advance

            return bar()

    with pytest.raises(KilledError):
        train(tmp_path / "run", config, progress=Kills())
    train(tmp_path / "run", config)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["steps"] for line in lines] == [0, 32, 64, 96]


def test_dev_accuracy_is_recorded_where_it_costs_nothing(tmp_path: Path) -> None:
    """Guards the figure people look at: it stands beside the reward's own, and is that of the engine's answers."""
    pool, queries = planted_pool(16), planted_examples(6, seed=5, prefix="reward")
    engine = InferenceEngine(ToyLanguageModel(), planted_template(), pool)
    config = small(total_steps=32, reward="margin", token_cost=0.5, max_per_label=1)
    nearest = NearestSelector(pool, ToyEncoder())
    problem = query_problem(
        engine, queries, nearest, config.decision(), reward=config.reward, token_cost=config.token_cost
    )
    run = train_policy(problem, problem, out=tmp_path / "run", config=config, provenance=PROVENANCE)
    best = read_best(run)
    rules = {"size": 6, "horizon": 2, "may_stop": False, "constraints": problem.config.constraints}
    selections = greedy_rollout(best.network, problem.shortlists, **rules)  # type: ignore[arg-type]
    assert best.metrics["dev_accuracy"] == pytest.approx(engine.accuracy(queries, selections))
    assert best.metrics["dev_potential"] == pytest.approx(problem.scorer.potentials(range(6), selections).mean())
    manifest = read_artifact(export_policy(run, tmp_path / "policy")).manifest
    assert manifest.constraints == problem.config.constraints
    assert manifest.metrics["dev_accuracy"] == best.metrics["dev_accuracy"]


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    """Guards against a traceback, and against silently starting over."""
    run = train(tmp_path / "run", small(total_steps=64))
    place = latest_checkpoint(run / "checkpoints")
    assert place is not None
    place = place.rename(place.with_name("step-000000032"))  # as if the run had been cut half-way
    state = (place / "state.json").read_text()
    (place / "state.json").write_text(state.replace('"numpy"', '"random"'))  # ended in a KeyError
    with pytest.raises(ArtifactError, match="--no-resume"):
        train(run, small(total_steps=64))
    (place / "state.json").write_text(state)
    (place / "policy.safetensors").write_bytes(b"\x00" * 10)
    with pytest.raises(ArtifactError, match="--no-resume"):
        train(run, small(total_steps=64))


def test_export_writes_what_the_training_process_decided(tmp_path: Path) -> None:
    """Guards the parity check: an artifact that scores otherwise is never finished."""
    run = train(tmp_path / "run", small())
    artifact = read_artifact(export_policy(run, tmp_path / "artifact"))
    best = read_best(run)
    check_parity(artifact, best)
    assert artifact.manifest.metrics == best.metrics
    assert artifact.manifest.encoder == "all-minilm-l6-v2"
    with torch.no_grad():
        artifact.network.similarity_weight += 1.0
    with pytest.raises(ArtifactError, match="nats away"):
        check_parity(artifact, best)


@pytest.mark.bundled
def test_export_takes_the_retriever_that_the_policy_was_trained_with(tmp_path: Path) -> None:
    """Guards an artifact whose encoder is gone, or is another than its fingerprint says."""
    retriever = tmp_path / "retriever"
    SentenceEncoder.load("all-minilm-l6-v2").save(retriever)
    problem, _ = planted_problem()
    for name, fingerprint in (("same", SentenceEncoder.load(retriever).fingerprint), ("other", "as it was once")):
        provenance = replace(PROVENANCE, encoder=str(retriever), fingerprints={"encoder": fingerprint})
        train_policy(problem, problem, out=tmp_path / name, config=small(total_steps=64), provenance=provenance)
    assert read_artifact(export_policy(tmp_path / "same", tmp_path / "artifact")).manifest.encoder == "encoder"
    with pytest.raises(ArtifactMismatchError, match="train the policy again"):
        export_policy(tmp_path / "other", tmp_path / "refused")
    retriever.rename(tmp_path / "moved")
    with pytest.raises(ArtifactError, match="nothing is there"):
        export_policy(tmp_path / "same", tmp_path / "refused")
    assert not (tmp_path / "refused").exists()


def test_parity_covers_what_reads_the_chosen(tmp_path: Path) -> None:
    """Guards the recurrent weights: over empty prompts alone they count for nothing, and any passed the check."""
    problem, _ = planted_problem(shots=4)
    config = small(shots=4, total_steps=64)
    run = train_policy(problem, problem, out=tmp_path / "run", config=config, provenance=PROVENANCE)
    artifact, best = read_artifact(export_policy(run, tmp_path / "artifact")), read_best(run)
    assert set(best.parity["chosen"].sum(dim=1).tolist()) == {0, 1, 2, 3}
    for weight in artifact.network.reader.parameters():
        kept = weight.detach().clone()
        torch.nn.init.constant_(weight, 5.0)
        with pytest.raises(ArtifactError, match="nats away"):
            check_parity(artifact, best)
        with torch.no_grad():
            weight.copy_(kept)
    check_parity(artifact, best)


@pytest.mark.parametrize(("shots", "may_stop"), [(1, False), (2, False), (3, True), (6, False)])
def test_states_for_parity_are_such_as_have_a_next_action(shots: int, may_stop: bool) -> None:
    """Guards prompts of one demonstration, prompts that stopped early, and shortlists that are chosen whole."""
    planted, scorer = planted_problem()
    problem = DecisionProblem(planted.shortlists, scorer, DecisionConfig(shots=shots, size=6, may_stop=may_stop))
    lengths = [query % (shots + 1) if may_stop else shots for query in range(len(planted.shortlists))]
    chosen = zip(planted.shortlists, lengths, strict=True)
    selections = [Selection.of(*shortlist.indices[:length]) for shortlist, length in chosen]
    states = parity_states(problem, selections)
    assert all(problem.mask(state).any() for state in states)
    assert {len(state.chosen) for state in states} == set(range(shots))


def test_export_refuses_what_is_no_run(tmp_path: Path) -> None:
    """Guards the message for a wrong path."""
    with pytest.raises(ArtifactError, match="train-policy"):
        export_policy(tmp_path, tmp_path / "artifact")


def test_the_learner_sees_every_copy() -> None:
    """Guards the stable-baselines3 adapter: masks, ends, terminal observations and episode returns."""
    problem, _ = planted_problem()
    env = MaskedVecEnv(VectorDemoSelection(problem, 3))
    env.seed(4)
    first = env.reset()
    assert env.has_attr("action_masks")
    masks = np.stack(env.env_method("action_masks"))
    assert masks.shape == (3, 7)
    totals = np.zeros(3)
    for step in (1, 2):
        actions = np.array([np.flatnonzero(mask)[0] for mask in env.env_method("action_masks")])
        _, rewards, done, infos = env.step(actions)
        totals += rewards
        assert done.tolist() == [step == 2] * 3
    assert [info["episode"]["r"] for info in infos] == pytest.approx(totals.tolist(), abs=1e-6)
    assert [info["episode"]["l"] for info in infos] == [2, 2, 2]
    assert all(info["terminal_observation"]["step"] == 1.0 for info in infos)
    env.seed(4)
    assert all(np.array_equal(array, first[name]) for name, array in env.reset().items())
    assert env.env_is_wrapped(object) == [False] * 3
    with pytest.raises(AttributeError):
        env.set_attr("x", 1)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.floats(-1, 1), min_size=5, max_size=12), st.integers(0, 100))
def test_the_permutation_test_is_a_test(values: list[float], seed: int) -> None:
    """Guards the p-value: equal samples give 1, shifted ones little, and it is never 0."""
    sample = np.array(values)
    assert permutation_p(sample, sample, rounds=200, seed=seed) == 1.0
    assert 0 < permutation_p(sample + 5, sample, rounds=2000, seed=seed) < 0.06
