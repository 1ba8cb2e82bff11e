"""Tests of candidate sets, the featuriser, the Q-network and the artifact for one prompt per task."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selector.data.pool import Pool
from selector.errors import ArtifactError, TooFewExamplesError
from selector.learned.artifact import MANIFEST_FILE, WEIGHTS_FILE, read_artifact, read_manifest
from selector.learned.candidate_set import (
    CandidateSet,
    build_candidate_set,
    draw_candidates,
    embed_task,
    showing_labels,
)
from selector.learned.corpus_artifact import read_corpus_artifact, read_policy, write_corpus_artifact
from selector.learned.corpus_network import CorpusNetworkConfig, CorpusQNetwork, RunningNorm
from selector.learned.corpus_observation import (
    CANDIDATE_FEATURES,
    LM_FEATURES,
    STATE_FEATURES,
    candidate_columns,
    observe_corpus,
    state_columns,
)
from selector.learned.manifest import CORPUS, CORPUS_FEATURES, Manifest
from selector.learned.shortlist import Shortlist
from selector.prompting.embedding_text import input_text
from selector.testing import ToyEncoder, planted_examples, planted_pool
from selector.types import Example

SIZES = {"width": 32, "state": len(STATE_FEATURES), "features": len(CANDIDATE_FEATURES), "hidden": 16, "dropout": 0.25}


def candidates(positions: list[int] | None = None, *, members: int = 20) -> CandidateSet:
    pool, encoder = planted_pool(members), ToyEncoder()
    rows = encoder.encode([input_text(example) for example in pool])
    task = embed_task(planted_examples(6, seed=9, prefix="q"), encoder)
    return build_candidate_set(pool, rows, task, positions or [3, 1, 12, 7, 18, 5])


def network(*, seed: int = 0) -> CorpusQNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = CorpusQNetwork(CorpusNetworkConfig(**SIZES))  # type: ignore[arg-type]
        made.norm.show(torch.randn(50, len(CORPUS_FEATURES)))
    return made.eval()


def values(made: CorpusQNetwork, own: CandidateSet, chosen: list[int]) -> np.ndarray:
    state = observe_corpus(own, chosen, horizon=3, may_stop=True)
    with torch.inference_mode():
        return made({name: torch.from_numpy(array)[None] for name, array in state.items()})[0][0].numpy()


def by_hand() -> CandidateSet:
    """Three candidates of known similarity, agreement 0.5, 0 and 1."""
    own = Shortlist(
        (7, 8, 9),
        np.array([1, 0], np.float32),
        np.array([[1, 0], [0.8, 0.6], [0, 1]], np.float32),
        np.array([1, 0.8, 0], np.float32),
        np.array([0, 1, 0]),
    )
    traits = np.array([[1, 0.2, 0.6, 0.5, 0], [0.5, 0.4, 0.4, 0, 0.5], [0, 0.6, 0.6, 1, 1]], np.float32)
    return CandidateSet(own, traits, 2)


def test_candidates_stand_most_typical_first_and_keep_their_pool_positions() -> None:
    """Guards the places that actions refer to."""
    own = candidates()
    assert sorted(own.shortlist.indices) == [1, 3, 5, 7, 12, 18]
    assert list(own.shortlist.similarities) == sorted(own.shortlist.similarities, reverse=True)
    pool = planted_pool(20)
    labels = [pool.labels[label] for label in own.shortlist.labels]
    assert labels == [pool[index].label for index in own.shortlist.indices]
    with pytest.raises(TooFewExamplesError, match="queries of the task"):
        embed_task([], ToyEncoder())


def test_a_trait_does_not_depend_on_the_other_candidates() -> None:
    """Guards policies that are used with more candidates than they were trained with."""
    few, all_ = candidates(), candidates(list(range(20)))
    places = [all_.shortlist.indices.index(index) for index in few.shortlist.indices]
    assert np.array_equal(few.traits, all_.traits[places])


def test_traits_by_hand() -> None:
    """Guards shares of the pool and of the neighbourhood; the candidate is not its own neighbour."""
    rows = np.array([[1, 0], [0.96, 0.28], [0.6, 0.8], [0, 1]], np.float32)
    pool = Pool(
        Example(str(at), {"text": "x" * length}, label)
        for at, (length, label) in enumerate([(4, "a"), (1, "a"), (2, "b"), (3, "a")])
    )
    own = build_candidate_set(pool, rows, np.array([1, 0], np.float32), [2, 0])
    assert own.shortlist.indices == (0, 2)
    # Neighbours of 0 bear a, b, a; those of 2 bear a three times.
    entropy = -(2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3)) / np.log(2)
    assert own.traits[0] == pytest.approx([1, 1, 0.75, 2 / 3, entropy], abs=1e-6)
    assert own.traits[1] == pytest.approx([1 / 3, 1 / 3, 0.25, 0, 0], abs=1e-6)


def test_a_pool_of_one_has_no_neighbours() -> None:
    """Guards the smallest pool against divisions by zero."""
    pool = Pool([Example("only", {"text": "x"}, "a")])
    own = build_candidate_set(pool, np.ones((1, 1), np.float32), np.ones(1, np.float32), [0])
    assert own.traits.tolist() == [[0, 0, 1, 0, 0]]


def test_features_by_hand() -> None:
    """Guards the meaning of each feature; training and serving share this one place."""
    own = by_hand()
    features = dict(zip(CANDIDATE_FEATURES, candidate_columns(own, [2, 1]).T, strict=True))
    assert features["similarity"] == pytest.approx([1, 0.8, 0])
    assert features["agreement"] == pytest.approx([0.5, 0, 1])
    assert features["redundancy"] == pytest.approx([0.8, 1, 1])
    assert features["last_similarity"] == pytest.approx([0.8, 1, 0.6])
    assert features["chosen_label_share"] == pytest.approx([0.5, 0.5, 0.5])
    assert features["repeats_last_label"] == pytest.approx([0, 1, 0])
    assert features["label_missing"] == pytest.approx([0, 0, 0])
    assert dict(zip(CANDIDATE_FEATURES, candidate_columns(own, [2]).T, strict=True))["label_missing"].tolist() == [
        *(0, 1, 0),
    ]
    state = dict(zip(STATE_FEATURES, state_columns(own, [2, 1], horizon=4), strict=True))
    assert state == pytest.approx(
        {"step": 0.5, "label_coverage": 1, "mean_similarity": 0.4, "mean_redundancy": 0.6, "mean_agreement": 0.5}
    )
    assert not state_columns(own, [], horizon=4).any()


def test_labels_may_be_renamed() -> None:
    """Guards transfer: only sameness of labels may count."""
    own = candidates()
    plain = own.shortlist
    other = Shortlist(plain.indices, plain.query, plain.candidates, plain.similarities, 1 - plain.labels)
    renamed = CandidateSet(other, own.traits, own.label_count)
    for chosen in ([], [2], [0, 3]):
        before, after = (observe_corpus(one, chosen, horizon=3, may_stop=False) for one in (own, renamed))
        assert all(np.array_equal(before[name], after[name]) for name in before)


def test_what_is_excluded_cannot_be_chosen() -> None:
    """Guards leave-one-out, and the way out when nothing is left."""
    own = by_hand()
    assert observe_corpus(own, [0], horizon=3, may_stop=False, excluded=[2])["mask"].tolist() == [0, 1, 0, 0]
    assert observe_corpus(own, [0], horizon=3, may_stop=False, excluded=[1, 2])["mask"].tolist() == [0, 0, 0, 1]
    uncertain = np.full((3, len(LM_FEATURES)), 0.5, np.float32)
    wide = observe_corpus(own, [0], horizon=3, may_stop=False, uncertainty=uncertain)["features"].reshape(3, -1)
    assert np.array_equal(wide[:, -4:], uncertain)


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(6)), st.sampled_from([[], [2], [4, 1]]))
def test_permuting_candidates_permutes_their_values(order: list[int], chosen: list[int]) -> None:
    """Guards equivariance: which slot a candidate stands in must not matter."""
    own, made = candidates(), network()
    plain = own.shortlist
    moved = Shortlist(
        tuple(plain.indices[at] for at in order),
        plain.query,
        plain.candidates[order],
        plain.similarities[order],
        plain.labels[order],
    )
    places = {old: new for new, old in enumerate(order)}
    before = values(made, own, chosen)
    after = values(made, CandidateSet(moved, own.traits[order], own.label_count), [places[at] for at in chosen])
    assert after[:6] == pytest.approx(before[order], abs=1e-5)
    assert after[6] == pytest.approx(before[6], abs=1e-5)


def test_other_candidates_change_no_value() -> None:
    """Guards policies trained with one number of candidates and served with another."""
    few, all_, made = candidates(), candidates(list(range(20))), network()
    places = [all_.shortlist.indices.index(index) for index in few.shortlist.indices]
    wide, narrow = values(made, all_, [places[4], places[1]]), values(made, few, [4, 1])
    assert narrow == pytest.approx(wide[[*places, 20]], abs=1e-5)


def test_running_statistics_are_those_of_all_rows() -> None:
    """Guards the incremental mean and variance, that serving leaves them alone, and far outliers."""
    rows = torch.randn(300, 4, generator=torch.Generator().manual_seed(0)) * 3 + 100
    norm = RunningNorm(4)
    assert torch.isfinite(norm(rows)).all()
    for start in (0, 10, 250):
        norm.show(rows[start : {0: 10, 10: 250, 250: 300}[start]])
    norm.show(rows[:0])
    wanted = (rows - rows.mean(dim=0)) / rows.std(dim=0, correction=0)
    assert norm(rows).numpy() == pytest.approx(wanted.numpy(), abs=1e-4)
    assert float(norm(rows * 1e6).max()) == 5.0
    made, before = network(), network().state_dict()
    values(made, candidates(), [0])
    assert all(torch.equal(tensor, made.state_dict()[name]) for name, tensor in before.items())
    made.train()
    state = observe_corpus(candidates(), [0], horizon=3, may_stop=False)
    made({name: torch.from_numpy(array)[None] for name, array in state.items()})
    assert made.norm.count == before["norm.count"] + 5  # the valid candidates


def test_candidates_are_drawn_by_seed() -> None:
    """Guards the fixed candidate set."""
    pool = planted_pool(20)
    assert draw_candidates(pool, 30, seed=0) == list(range(20))
    drawn = draw_candidates(pool, 8, seed=1)
    assert drawn == draw_candidates(pool, 8, seed=1) != draw_candidates(pool, 8, seed=2)
    assert len(set(drawn)) == 8


def test_labels_that_a_draw_left_out_are_added() -> None:
    """Guards prompts whose labels are given: a rare label must be among the candidates as often as it is wanted."""
    pool = planted_pool(20)
    first, second = pool.labels[:2]
    having = [place for place, example in enumerate(pool) if example.label == first]
    others = [place for place, example in enumerate(pool) if example.label != first][:3]
    for drawn, excluded, added in (
        (others, (), having[:2]),
        ([*others, having[4]], (), [having[0], having[4]]),
        ([*others, having[0]], having[:1], having[:3]),
        ([*others, *having[:3]], (), having[:3]),
    ):
        shown = showing_labels(pool, drawn, (first, second, first), excluded=excluded)
        assert shown == tuple(sorted({*others, *added}))
    assert showing_labels(pool, others, (first,) * 40) == tuple(sorted({*others, *having}))
    assert showing_labels(pool, others, ("no label",)) == tuple(others)


def manifest(**changes: object) -> Manifest:
    settings = {
        "shots": 2,
        "shortlist_size": 5,
        "may_stop": False,
        "labelled_demonstrations": False,
        "network": SIZES,
        "encoder": "toy",
        "fingerprints": {},
        "kind": CORPUS,
        "features": CORPUS_FEATURES,
        "candidates": (1, 4, 2),
    }
    return Manifest(**(settings | changes))  # type: ignore[arg-type]


def test_an_artifact_comes_back(tmp_path: Path) -> None:
    """Guards weights and manifest through a round trip, and the two kinds against each other."""
    made = network()
    folder = write_corpus_artifact(tmp_path / "policy", manifest(), made)
    read = read_corpus_artifact(folder)
    assert all(torch.equal(tensor, read.network.state_dict()[name]) for name, tensor in made.state_dict().items())
    assert (read.manifest.kind, read.manifest.candidates, read.encoder_source) == (CORPUS, (1, 4, 2), "toy")
    assert not read.asks_language_model
    assert read_policy(folder).manifest == read.manifest
    with pytest.raises(ArtifactError, match="of the kind 'corpus'; expected the kind per-query"):
        read_artifact(folder)
    wide = CorpusNetworkConfig(**SIZES | {"features": len(CANDIDATE_FEATURES) + 4})  # type: ignore[arg-type]
    asks = manifest(network=vars(wide), features=(*CORPUS_FEATURES, *LM_FEATURES))
    assert read_corpus_artifact(
        write_corpus_artifact(tmp_path / "asks", asks, CorpusQNetwork(wide))
    ).asks_language_model


def edit(folder: Path, **changes: object) -> None:
    path = folder / MANIFEST_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / MANIFEST_FILE).unlink(), "missing"),
        (lambda folder: edit(folder, schema_version=2), "schema version 2"),
        (lambda folder: edit(folder, kind="other"), "per-query or corpus|kind corpus"),
        (lambda folder: edit(folder, kind="per-query"), "kind"),
        (lambda folder: edit(folder, features=["other"]), "features"),
        (lambda folder: edit(folder, candidates=None), "not a manifest"),
        (lambda folder: edit(folder, features=[*CORPUS_FEATURES, *LM_FEATURES]), "as its manifest says"),
        (lambda folder: edit(folder, network={**SIZES, "hidden": 8}), "unlike its manifest"),
        (lambda folder: edit(folder, network={"depth": 3}), "unlike its manifest"),
        (lambda folder: (folder / WEIGHTS_FILE).write_bytes(b""), "missing or changed"),
    ],
)
def test_every_damage_to_an_artifact_is_named(tmp_path: Path, damage: object, message: str) -> None:
    """Guards against a damaged policy that selects all the same."""
    folder = write_corpus_artifact(tmp_path / "policy", manifest(), network())
    damage(folder)  # type: ignore[operator]
    with pytest.raises(ArtifactError, match=message):
        read_corpus_artifact(folder)


def test_a_manifest_from_before_there_were_kinds_is_a_per_query_one(tmp_path: Path) -> None:
    """Guards artifacts that were written before the kind was named."""
    folder = write_corpus_artifact(tmp_path / "policy", manifest(), network())
    content = json.loads((folder / MANIFEST_FILE).read_text())
    from selector.learned.observation import FEATURES

    del content["kind"], content["candidates"]
    (folder / MANIFEST_FILE).write_text(json.dumps(content | {"features": FEATURES}))
    assert read_manifest(folder).kind == "per-query"
