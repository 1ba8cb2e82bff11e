"""Tests of the exported policy that chooses one prompt for a task."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from selector.data.pool import Pool
from selector.errors import ArtifactError, ArtifactMismatchError, UsageError
from selector.inference.engine import InferenceEngine
from selector.learned.candidate_set import embed_task
from selector.learned.corpus_artifact import write_corpus_artifact
from selector.learned.corpus_network import CorpusNetworkConfig, CorpusQNetwork
from selector.learned.corpus_observation import CANDIDATE_FEATURES, LM_FEATURES, STATE_FEATURES
from selector.learned.manifest import CORPUS, CORPUS_FEATURES, Manifest
from selector.strategies.corpus import CorpusSelector
from selector.strategies.exported import load_policy
from selector.strategies.learned import LearnedSelector
from selector.strategies.named import build_selector
from selector.testing import (
    SelectorPromises,
    ToyEncoder,
    ToyLanguageModel,
    check_selector,
    planted_examples,
    planted_pool,
    planted_template,
)

CANDIDATES = (2, 9, 4, 17, 11, 20, 6)


def engine(pool: Pool) -> InferenceEngine:
    return InferenceEngine(ToyLanguageModel(), planted_template(), pool)


def artifact(folder: Path, pool: Pool, *, lm_features: bool = False, **changes: object) -> Path:
    """An artifact with an untrained network."""
    own = (*CANDIDATE_FEATURES, *LM_FEATURES) if lm_features else CANDIDATE_FEATURES
    named = len(changes.get("label_names", ()))  # type: ignore[arg-type]
    state, seen = len(STATE_FEATURES) + named, len(own) + named
    sizes = {"width": 32, "state": state, "features": seen, "hidden": 16, "dropout": 0.25}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = CorpusQNetwork(CorpusNetworkConfig(**sizes))  # type: ignore[arg-type]
        network.norm.show(torch.rand(100, state + seen))
    network.task.copy_(torch.from_numpy(embed_task(planted_examples(5, seed=9, prefix="t"), ToyEncoder())))
    settings = {
        "shots": 3,
        "shortlist_size": len(CANDIDATES),
        "may_stop": False,
        "labelled_demonstrations": False,
        "network": sizes,
        "encoder": "toy",
        "fingerprints": {
            "pool": pool.fingerprint,
            "encoder": ToyEncoder().fingerprint,
            "template": planted_template().fingerprint,
            "language model": ToyLanguageModel().fingerprint,
        },
        "kind": CORPUS,
        "features": (*CORPUS_FEATURES, *own[len(CANDIDATE_FEATURES) :]),
        "candidates": CANDIDATES,
    }
    return write_corpus_artifact(folder, Manifest(**(settings | changes)), network)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return artifact(tmp_path_factory.mktemp("corpus") / "policy", planted_pool())


def load(folder: Path, pool: Pool) -> CorpusSelector:
    return CorpusSelector.load(folder, pool, encoder=ToyEncoder(), force=True)


@pytest.mark.parametrize("members", [24, 40])
def test_laws_of_a_selector(folder: Path, members: int) -> None:
    """Guards the laws of `selector.testing`: with as many shots as candidates, with more, and with a larger pool."""
    promises = SelectorPromises(shots=(0, 1, 3, 7, 9), tolerance=0.0)
    assert check_selector(lambda pool: load(folder, pool), pool=planted_pool(members), promises=promises) == {}


def test_one_set_serves_every_query_that_is_no_member_of_it(folder: Path) -> None:
    """Guards the point of the policy: one prompt, chosen once, so that the language model computes it once."""
    pool = planted_pool()
    selector = load(folder, pool)
    selections = selector.select(planted_examples(5, seed=6, prefix="q"), 3)
    assert len(set(selections)) == 1
    assert set(selections[0].indices) <= set(CANDIDATES)
    outside = next(at for at in CANDIDATES if at not in selections[0].indices)
    assert selector.select([pool[outside]], 3) == selections[:1]
    [without] = selector.select([pool[selections[0].indices[0]]], 3)
    assert without.indices[0] in CANDIDATES


def test_the_pool_of_the_training_is_shown_the_prompt_it_has_kept(folder: Path, tmp_path: Path) -> None:
    """Guards what was valued against being left aside, and against being shown where it was not valued."""
    pool, queries = planted_pool(), planted_examples(2, seed=6, prefix="q")
    kept = artifact(tmp_path / "kept", pool, prompt=(20, 9, 4))
    chosen, alone = load(kept, pool), load(folder, pool)
    assert [one.indices for one in chosen.select(queries, 3)] == [(20, 9, 4)] * 2
    assert alone.select(queries, 3)[0].indices != (20, 9, 4)
    assert chosen.select(queries, 2) == alone.select(queries, 2)  # another number of demonstrations
    [without] = chosen.select([pool[9]], 3)  # a query that it would be shown as its own demonstration
    assert (9 in without.indices, len(without.indices)) == (False, 3)
    grown = Pool([*planted_pool(), *planted_examples(4, seed=4, prefix="more")])
    assert load(kept, grown).select(queries, 3) == load(folder, grown).select(queries, 3)
    assert check_selector(lambda own: load(kept, own), promises=SelectorPromises(tolerance=0.0)) == {}
    told = CorpusSelector.load(kept, pool, encoder=ToyEncoder(), force=True, task_queries=queries)
    assert told.select(queries, 3)[0].indices != (20, 9, 4)  # it was valued under another task
    # No candidate, twice, no whole numbers, fewer than shots without a reason, more.
    for wrong in ((20, 9, 5), (9, 9, 4), (20.0, 9, 4), ([20], 9, 4), (20, 9), (20, 9, 4, 2)):
        with pytest.raises(ArtifactError, match="prompt"):
            artifact(tmp_path / "wrong", pool, prompt=wrong)
    nothing = artifact(tmp_path / "nothing", pool, prompt=(), may_stop=True)
    assert [one.indices for one in load(nothing, pool).select(queries, 3)] == [(), ()]
    for name, candidates in (("candidates", ([1],)), ("beyond", (1, 2, 99_999))):
        with pytest.raises(ArtifactError, match=name):
            load(artifact(tmp_path / "wrong", pool, candidates=candidates), pool)


def test_another_pool_is_shown_the_labels_of_the_kept_prompt(tmp_path: Path) -> None:
    """Guards what a prompt has in common with other pools: labels in order, which the network alone forgot."""
    pool, queries = planted_pool(), planted_examples(2, seed=6, prefix="q")
    names = pool.labels
    kept = {"prompt": (20, 9, 4), "label_names": names}
    alone = artifact(tmp_path / "alone", pool, **kept)
    new = planted_pool(60, seed=8)

    def shown(folder: Path, own: Pool = new, shots: int = 3) -> list[str]:
        [first, second] = load(folder, own).select(queries, shots)
        assert first == second
        return [str(own[index].label) for index in first.indices]

    for number, wanted in enumerate(((names[0],) * 3, (names[1], names[0], names[1]), (names[0], names[1], names[1]))):
        folder = artifact(tmp_path / str(number), pool, prompt_labels=wanted, **kept)
        assert shown(folder) == list(wanted)
        assert shown(folder, pool) == [str(pool[index].label) for index in (20, 9, 4)]  # its own pool has the prompt
        assert shown(folder, shots=2) == shown(alone, shots=2)  # no prompt of two was valued
        told = CorpusSelector.load(folder, new, encoder=ToyEncoder(), force=True, task_queries=queries)
        assert [new[index].label for index in told.select(queries, 3)[0].indices] == list(wanted)  # `compare --force`
    [without] = load(folder, pool).select([pool[9]], 3)
    assert [pool[index].label for index in without.indices] == list(wanted)
    lacking = Pool([example for example in new if example.label == names[1]])
    assert shown(folder, lacking) == shown(alone, lacking)  # the labels of another task
    limited = artifact(tmp_path / "limited", pool, prompt_labels=(names[0],) * 3, max_per_label=2, **kept)
    assert shown(limited).count(names[0]) == 2
    short = {**kept, "prompt": (9,), "prompt_labels": (names[1],), "may_stop": True}
    assert shown(artifact(tmp_path / "short", pool, **short)) == [names[1]]
    assert check_selector(lambda own: load(folder, own), promises=SelectorPromises(tolerance=0.0)) == {}
    for wrong in ((names[0],), (names[0], names[1], "no label"), (0, 1, 0)):
        with pytest.raises(ArtifactError, match="prompt_labels"):
            artifact(tmp_path / "wrong", pool, prompt_labels=wrong, **kept)


def test_another_pool_needs_no_training(folder: Path) -> None:
    """Guards new pools without retraining: the candidates of training mean nothing there, whatever its size."""
    for members in (5, 200):
        pool = planted_pool(members, seed=8)
        chosen = load(folder, pool).select(planted_examples(2, prefix="q"), 3)
        assert len(chosen[0].indices) == 3
    grown = Pool([*planted_pool(), *planted_examples(40, seed=4, prefix="more")])
    assert max(load(folder, grown).select(planted_examples(1, prefix="q"), 12)[0].indices) >= 24
    with pytest.raises(ArtifactMismatchError, match="--force") as caught:
        CorpusSelector.load(folder, grown, encoder=ToyEncoder())
    assert (caught.value.part, caught.value.present) == ("pool", grown.fingerprint)
    with pytest.raises(ArtifactMismatchError, match="encoder"):
        CorpusSelector.load(folder, planted_pool(), encoder=ToyEncoder(width=16))


def test_a_large_pool_is_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards time and memory: one prompt does not look at a million candidates; and labels that a draw left out."""
    monkeypatch.setattr("selector.strategies.corpus.MOST_CANDIDATES", 10)
    pool = planted_pool(200, seed=8)
    first, second = pool.labels[:2]
    kept = {"prompt": (9, 2, 4), "prompt_labels": (second, first, second), "label_names": (first, second)}
    selector = load(artifact(tmp_path / "policy", planted_pool(), **kept), pool)
    selector.select(planted_examples(1, prefix="q"), 3)
    [(candidates, _)] = selector._described.values()
    assert len(candidates) == 10
    assert len(selector.select(planted_examples(1, prefix="q"), 14)[0].indices) == 14
    drawn = {*candidates.shortlist.indices}
    renamed = Pool([replace(own, label=second if at in drawn else first) for at, own in enumerate(pool)])
    [selection] = load(selector.artifact.folder, renamed).select(planted_examples(1, prefix="q"), 3)
    assert [renamed[index].label for index in selection.indices] == [second, first, second]


def test_another_task_is_described_by_its_own_queries(folder: Path) -> None:
    """Guards transfer: what stood for the training task must not stand for another one."""
    pool, queries = planted_pool(30, seed=5), planted_examples(4, seed=2, prefix="other")
    own = CorpusSelector.load(folder, pool, encoder=ToyEncoder(), force=True, task_queries=queries)
    own.select(queries, 2)
    [(candidates, _)] = own._described.values()
    assert candidates.shortlist.query == pytest.approx(embed_task(queries, ToyEncoder()))


def test_a_policy_that_may_stop_may_choose_fewer(tmp_path: Path) -> None:
    """Guards STOP at serving: a network that values it highest ends at once, and k is an upper bound."""
    pool = planted_pool()
    stops = artifact(tmp_path / "stops", pool, may_stop=True)
    assert check_selector(lambda own: load(stops, own), promises=SelectorPromises(exactly_k=False)) == {}
    for bias, count in ((100.0, 0), (-100.0, 3)):
        selector = load(artifact(tmp_path / "policy", pool, may_stop=True), pool)
        network, stop = selector.artifact.network, len(CANDIDATES)

        def pushed(_: object, __: object, output: tuple[torch.Tensor, torch.Tensor], bias: float = bias) -> object:
            values = output[0].clone()
            values[:, stop] += bias  # noqa: B023 - the same in every round
            return values, output[1]

        network.register_forward_hook(pushed)
        assert len(selector.select(planted_examples(1, prefix="q"), 3)[0].indices) == count


def test_a_policy_that_reads_the_language_model_needs_an_engine(tmp_path: Path) -> None:
    """Guards the published features: they are asked for once for each choice, and their absence is named."""
    pool = planted_pool()
    reads = artifact(tmp_path / "policy", pool, lm_features=True)
    with pytest.raises(UsageError, match="lm_features"):
        CorpusSelector.load(reads, pool, encoder=ToyEncoder())
    judge = engine(pool)
    selector = CorpusSelector.load(reads, pool, encoder=ToyEncoder(), engine=lambda: judge)
    selector.select(planted_examples(3, prefix="q"), 3)
    assert judge.lm.usage.calls == 3 * len(CANDIDATES) * 2  # three choices, both labels of every candidate

    def refuse() -> InferenceEngine:
        raise AssertionError("the language model was loaded")

    plain = artifact(tmp_path / "plain", pool)
    CorpusSelector.load(plain, pool, encoder=ToyEncoder(), engine=refuse).select(planted_examples(1, prefix="q"), 3)


def test_limits_hold_in_serving(tmp_path: Path) -> None:
    """Guards class balance and the token budget of an exported policy; tokens are counted by the engine."""
    pool, queries = planted_pool(), planted_examples(1, prefix="q")
    [balanced] = load(artifact(tmp_path / "policy", pool, max_per_label=2), pool).select(queries, 6)
    assert sorted(pool[index].label or "" for index in balanced.indices) == ["fresh", "fresh", "rotten", "rotten"]
    short, judge = artifact(tmp_path / "short", pool, token_budget=30), engine(pool)
    with pytest.raises(UsageError, match="token_budget"):
        load(short, pool)
    [few] = CorpusSelector.load(short, pool, encoder=ToyEncoder(), engine=lambda: judge).select(queries, 6)
    assert 0 < sum(judge.demonstration_tokens(few.indices)) <= 30
    assert judge.lm.usage.calls == 0
    with pytest.raises(UsageError, match="another pool"):
        CorpusSelector.load(short, pool, encoder=ToyEncoder(), engine=lambda: engine(planted_pool(9)))


def test_a_policy_knows_which_engine_it_was_trained_for(folder: Path) -> None:
    """Guards against answers from another template or language model, silently worse."""
    pool = planted_pool()
    selector = load(folder, pool)
    selector.check_engine(engine(pool))
    other = planted_template()
    changed = InferenceEngine(ToyLanguageModel(), type(other)(other.template, other.verbalizers, separator="\n"), pool)
    with pytest.raises(ArtifactMismatchError, match="template"):
        selector.check_engine(changed)
    selector.check_engine(changed, force=True)


def test_the_folder_says_which_selector_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the one way in for every kind of policy: by name, by folder and from the command line."""
    pool = planted_pool()
    load_toy: Callable[[object], ToyEncoder] = lambda _: ToyEncoder()  # noqa: E731 - stands for a class method
    monkeypatch.setattr("selector.retrieval.encoder.SentenceEncoder.load", load_toy)
    assert isinstance(load_policy(folder, pool), CorpusSelector)
    built = build_selector(str(folder), engine=engine(pool), encoder=ToyEncoder(), dev=[])
    assert isinstance(built, CorpusSelector)
    with pytest.raises(ArtifactError, match="load_policy"):
        LearnedSelector.load(folder, pool)
    with pytest.raises(ArtifactError, match=r"manifest\.json"):
        load_policy(folder.parent, pool)


_FRESH = """
import json, sys
from selector.strategies.corpus import CorpusSelector
from selector.testing import ToyEncoder, planted_examples, planted_pool
selector = CorpusSelector.load(sys.argv[1], planted_pool(), encoder=ToyEncoder())
(selection,) = selector.select(planted_examples(1, seed=2, prefix="q"), 3)
unwanted = [name for name in ("stable_baselines3", "sb3_contrib", "gymnasium", "transformers") if name in sys.modules]
print(json.dumps([selection.indices, selection.scores, unwanted]))
"""


def test_a_fresh_process_selects_alike_without_the_learners(folder: Path) -> None:
    """Guards portability: the artifact decides alike where neither learner, environment nor language model exists."""
    [here] = load(folder, planted_pool()).select(planted_examples(1, seed=2, prefix="q"), 3)
    done = subprocess.run([sys.executable, "-c", _FRESH, str(folder)], capture_output=True, text=True, check=True)
    indices, scores, unwanted = json.loads(done.stdout)
    assert unwanted == []
    assert tuple(indices) == here.indices
    assert scores == pytest.approx(here.scores, abs=1e-5)
