"""Tests of what makes a run the same run: what it is paid by counts, and a folder that is damaged is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from policies.corpus_config import CorpusTrainingConfig
from policies.corpus_stage import train_corpus_policy_on
from policies.export import export_policy
from policies.policy_config import PolicyTrainingConfig
from policies.runs import RUN_FILE
from policies.stages import train_policy_on
from selector.errors import ArtifactError, UsageError
from selector.inference.engine import InferenceEngine
from selector.learned.corpus_artifact import read_policy
from selector.testing import ToyEncoder, ToyLanguageModel, planted_examples, planted_pool, planted_template
from selector.types import Example

REWARD, DEV = planted_examples(8, seed=3, prefix="reward"), planted_examples(6, seed=4, prefix="dev")
PER_QUERY = PolicyTrainingConfig(
    shots=2, shortlist_size=6, total_steps=64, copies=8, rollout_steps=4, batch_size=16, similarity_weight=0.0
)
PER_CORPUS = CorpusTrainingConfig(shots=2, candidates=6, episodes=8, steps=20, online_episodes=0, evaluate_every=20)


def workspace(*, reward: Sequence[Example] = REWARD, dev: Sequence[Example] = DEV, **engine: str) -> Any:
    """A workspace over planted reviews, with the toy models."""
    pool, template = planted_pool(16), planted_template()
    task = SimpleNamespace(
        pool=pool, template=template, reward=tuple(reward), dev=tuple(dev), encoder=SimpleNamespace(model="toy")
    )
    judge = InferenceEngine(ToyLanguageModel(), template, pool, **engine)
    return SimpleNamespace(task=task, engine=judge, encoder=ToyEncoder())


def flipped(queries: Sequence[Example]) -> list[Example]:
    first, second = sorted({str(query.label) for query in queries})
    return [replace(query, label=second if query.label == first else first) for query in queries]


@pytest.mark.parametrize(
    ("train", "config"), [(train_policy_on, PER_QUERY), (train_corpus_policy_on, PER_CORPUS)], ids=["query", "corpus"]
)
def test_a_run_that_is_paid_otherwise_is_another_run(
    tmp_path: Path, train: Callable[..., Path], config: object
) -> None:
    """Guards a resumed run whose halves had different gold labels, scoring or calibration: it went on silently."""
    out = tmp_path / "run"
    train(workspace(), out, retriever=None, config=config)
    for other, named in (
        (workspace(reward=flipped(REWARD)), "reward queries"),
        (workspace(dev=flipped(DEV)), "dev queries"),
        (workspace(scoring="channel"), "scoring"),
        (workspace(calibration="contextual"), "calibration"),
    ):
        with pytest.raises(UsageError, match=rf"other settings or data \({named}\)"):
            train(other, out, retriever=None, config=config)
    train(workspace(), out, retriever=None, config=config)
    fingerprints = read_policy(export_policy(out, tmp_path / "policy")).manifest.fingerprints
    assert (fingerprints["scoring"], fingerprints["calibration"]) == ("direct", "none")


def test_a_run_over_several_tasks_is_rewarded_by_all_of_them(tmp_path: Path) -> None:
    """Guards tasks that are named and not trained on, and a run that goes on with other tasks than it began with."""
    other = workspace(reward=planted_examples(5, seed=8, prefix="theirs"), dev=DEV[:2])
    asked: dict[str, list[str]] = {"own": [], "theirs": []}
    own = workspace()
    for name, one in (("own", own), ("theirs", other)):

        def score(queries: Any, selections: Any, name: str = name, engine: Any = one.engine) -> Any:
            asked[name] += [query.uid for query in queries]
            return InferenceEngine.score(engine, queries, selections)

        one.engine.score = score
    out = tmp_path / "run"
    train_policy_on(own, out, retriever=None, config=PER_QUERY, also=[other])
    assert set(asked["own"]) == {query.uid for query in (*REWARD, *DEV)}
    assert set(asked["theirs"]) == {query.uid for query in (*other.task.reward, *other.task.dev)}
    manifest = read_policy(export_policy(out, tmp_path / "policy")).manifest
    assert manifest.fingerprints["pool"] == own.task.pool.fingerprint
    for others in ((), [workspace(reward=planted_examples(5, seed=9, prefix="theirs"))]):
        with pytest.raises(UsageError, match=r"other tasks"):
            train_policy_on(own, out, retriever=None, config=PER_QUERY, also=others)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a per-query policy."""
    return train_policy_on(workspace(), tmp_path_factory.mktemp("runs") / "run", retriever=None, config=PER_QUERY)


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / "best" / "metrics.json").write_text(""), "best is damaged"),
        (lambda run: (run / "best" / "metrics.json").write_text("[]"), "metrics are missing"),
        (lambda run: (run / "best" / "metrics.json").unlink(), "best is damaged"),
        (lambda run: tear(run / "best" / "policy.safetensors"), "best is damaged"),
        (lambda run: tear(run / "best" / "parity.safetensors"), "best is damaged"),
        (lambda run: edit(run / RUN_FILE, network={"depth": 3}), "best is damaged"),
        (lambda run: edit(run / RUN_FILE, network=None), "no run folder"),
        (lambda run: edit(run / RUN_FILE, config=[]), "no run folder"),
        (lambda run: edit(run / RUN_FILE, provenance={"encoder": "toy"}), "no run folder"),
        (lambda run: edit(run / RUN_FILE, kind="corpus-policy-run"), "no run folder"),
        (lambda run: tear(run / RUN_FILE), "no run folder"),
    ],
)
def test_every_damage_to_a_run_is_named(
    tmp_path: Path, finished: Path, damage: Callable[[Path], object], message: str
) -> None:
    """Guards export against tracebacks: a run that was torn by a kill or a full disk says so."""
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    damage(run)
    with pytest.raises(ArtifactError, match=message):
        export_policy(run, tmp_path / "policy")
    assert not (tmp_path / "policy").exists()


def test_a_folder_that_does_not_say_what_it_is_needs_no_resume(tmp_path: Path, finished: Path) -> None:
    """Guards the way out of a run without run.json: it was refused as somebody else's folder, whatever was passed."""
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    tear(run / RUN_FILE)
    with pytest.raises(ArtifactError, match="--no-resume"):
        train_policy_on(workspace(), run, retriever=None, config=PER_QUERY)
    (run / RUN_FILE).unlink()
    with pytest.raises(UsageError, match=r"without run\.json.*--no-resume"):
        train_policy_on(workspace(), run, retriever=None, config=PER_QUERY)
    (run / "metrics.csv").write_text("mine")
    for resume in (True, False):
        with pytest.raises(UsageError, match="other files"):
            train_policy_on(workspace(), run, retriever=None, config=PER_QUERY, resume=resume)
    (run / "metrics.csv").unlink()
    train_policy_on(workspace(), run, retriever=None, config=PER_QUERY, resume=False)
    assert export_policy(run, tmp_path / "policy").is_dir()


def test_a_folder_of_somebody_else_is_not_deleted(tmp_path: Path) -> None:
    """Guards files beside a run.json of another program against --no-resume."""
    (tmp_path / RUN_FILE).write_text('{"experiment": 7}')
    (tmp_path / "thesis.txt").write_text("years of work")
    for resume in (True, False):
        with pytest.raises((UsageError, ArtifactError)):
            train_policy_on(workspace(), tmp_path, retriever=None, config=PER_QUERY, resume=resume)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_what_a_run_is_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards run.json: killed while it is written, it was torn, and nothing but another folder helped."""
    run = tmp_path / "run"

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            train_policy_on(workspace(), run, retriever=None, config=PER_QUERY)
    assert not (run / RUN_FILE).exists()
    assert any(run.iterdir())
    train_policy_on(workspace(), run, retriever=None, config=PER_QUERY)
