"""Tests of shortlists, the featuriser, the network and the artifact."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selector.errors import ArtifactError, DiskFullError, TooFewExamplesError
from selector.learned.artifact import MANIFEST_FILE, WEIGHTS_FILE, read_artifact, write_artifact
from selector.learned.manifest import Manifest
from selector.learned.network import PointerNetwork, PointerNetworkConfig
from selector.learned.observation import FEATURES, candidate_features, feature_names, observe
from selector.learned.rollout import greedy_rollout
from selector.learned.shortlist import Shortlist, build_shortlists
from selector.strategies.dense import NearestSelector
from selector.testing import ToyEncoder, planted_examples, planted_pool


def shortlist(size: int = 5, *, seed: int = 0) -> Shortlist:
    pool = planted_pool(20, seed=seed)
    queries = planted_examples(1, seed=seed + 50, prefix="q")
    return build_shortlists(queries, NearestSelector(pool, ToyEncoder()), size)[0]


def network(*, seed: int = 0) -> PointerNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = PointerNetwork(PointerNetworkConfig(width=32, features=len(FEATURES), hidden=16))
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
    return made.eval()


def logits(made: PointerNetwork, own: Shortlist, chosen: list[int], *, size: int = 5, horizon: int = 3) -> np.ndarray:
    observation = observe(own, chosen, size=size, horizon=horizon, may_stop=True)
    with torch.inference_mode():
        return made({name: torch.from_numpy(array)[None] for name, array in observation.items()})[0][0].numpy()


def permute(own: Shortlist, order: list[int]) -> Shortlist:
    return Shortlist(
        tuple(own.indices[at] for at in order),
        own.query,
        own.candidates[order],
        own.similarities[order],
        own.labels[order],
    )


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(5)), st.sampled_from([[], [2], [4, 1]]))
def test_permuting_candidates_permutes_their_scores(order: list[int], chosen: list[int]) -> None:
    """Guards equivariance: which slot a candidate stands in must not matter, but for its rank."""
    own, made = shortlist(), network()
    with torch.no_grad():  # the rank feature is the slot, on purpose; it is switched off here
        made.candidate.weight[:, 32 + FEATURES.index("rank")] = 0
    moved = permute(own, order)
    places = {old: new for new, old in enumerate(order)}
    before = logits(made, own, chosen)
    after = logits(made, moved, [places[at] for at in chosen])
    assert after[:5] == pytest.approx(before[order], abs=1e-4)
    assert after[5] == pytest.approx(before[5], abs=1e-4)


def test_the_order_of_the_chosen_matters() -> None:
    """Guards that the policy can learn order at all."""
    own, made = shortlist(), network()
    assert np.abs(logits(made, own, [0, 3]) - logits(made, own, [3, 0])).max() > 1e-3


def test_padding_changes_no_score() -> None:
    """Guards policies trained on one K and served on another, and short shortlists."""
    own, made = shortlist(), network()
    narrow = logits(made, own, [1], size=5)
    wide = logits(made, own, [1], size=9)
    assert wide[:5] == pytest.approx(narrow[:5], abs=1e-5)
    assert wide[9] == pytest.approx(narrow[5], abs=1e-5)


def test_an_untrained_policy_starts_near_the_retriever() -> None:
    """Guards the warm start: first choices of a fresh network are mostly the most similar candidates."""
    made = PointerNetwork(PointerNetworkConfig(width=32, features=len(FEATURES), similarity_weight=50.0)).eval()
    own = [shortlist(5, seed=seed) for seed in range(6)]
    chosen = greedy_rollout(made, own, size=5, horizon=1, may_stop=False)
    assert [one.indices[0] for one in chosen] == [one.indices[0] for one in own]


def test_features_by_hand() -> None:
    """Guards the meaning of each feature; training and serving share this one place."""
    own = Shortlist(
        (7, 8, 9),
        np.array([1, 0], np.float32),
        np.array([[1, 0], [0.8, 0.6], [0, 1]], np.float32),
        np.array([1, 0.8, 0], np.float32),
        np.array([0, 1, 0]),
    )
    features = {name: candidate_features(own, [1])[:, at] for at, name in enumerate(FEATURES)}
    weights = np.exp([0.0, -2.0, -10.0])
    assert features["similarity"] == pytest.approx([1, 0.8, 0])
    assert features["redundancy"] == pytest.approx([0.8, 1, 0.6])
    share = (weights[0] + weights[2]) / weights.sum()
    assert features["label_share"] == pytest.approx([share, 1 - share, share])
    assert features["chosen_label_share"] == pytest.approx([0, 1, 0])
    assert features["rank"] == pytest.approx([0, 0.5, 1])


def test_labels_may_be_renamed() -> None:
    """Guards transfer: only sameness of labels may count."""
    own = shortlist()
    renamed = Shortlist(own.indices, own.query, own.candidates, own.similarities, 1 - own.labels)
    assert np.array_equal(candidate_features(own, [0, 2]), candidate_features(renamed, [0, 2]))


def test_a_shortlist_is_nearest_first_and_leaves_the_query_out() -> None:
    """Guards the candidates of training queries that are members of the pool."""
    pool = planted_pool(20)
    (own,) = build_shortlists([pool[3]], NearestSelector(pool, ToyEncoder()), 6)
    assert 3 not in own.indices
    assert list(own.similarities) == sorted(own.similarities, reverse=True)
    assert [pool.labels[label] for label in own.labels] == [pool[index].label for index in own.indices]
    with pytest.raises(TooFewExamplesError):
        build_shortlists([pool[3]], NearestSelector(pool, ToyEncoder()), 6, at_least=20)


def test_a_shortlist_can_hold_every_label() -> None:
    """Guards labels that no neighbour bears: the nearest of each is there, as far as places go round, best first."""
    pool = planted_pool(40)
    nearest = NearestSelector(pool, ToyEncoder())
    query = pool[3]
    plain, covered = (build_shortlists([query], nearest, 6, per_label=share)[0] for share in (0, 3))
    assert sorted(covered.labels.tolist()) == [0, 0, 0, 1, 1, 1]
    assert list(covered.similarities) == sorted(covered.similarities, reverse=True)
    assert 3 not in covered.indices
    everything = build_shortlists([query], nearest, 39)[0]
    for label in (0, 1):
        wanted = [at for at, own in zip(everything.indices, everything.labels, strict=True) if own == label][:3]
        assert [at for at, own in zip(covered.indices, covered.labels, strict=True) if own == label] == wanted
    assert build_shortlists([query], nearest, 6, per_label=1)[0].indices[0] == plain.indices[0]
    assert build_shortlists([query], nearest, 1, per_label=5)[0].indices == plain.indices[:1]


SIZES = {"width": 32, "features": len(FEATURES), "hidden": 16, "similarity_weight": 10.0, "stop_logit": -2.0}


def manifest(**changes: object) -> Manifest:
    settings = {
        "shots": 2,
        "shortlist_size": 5,
        "may_stop": False,
        "labelled_demonstrations": False,
        "network": SIZES,
        "encoder": "toy",
        "fingerprints": {},
    }
    return Manifest(**(settings | changes))  # type: ignore[arg-type]


def test_an_artifact_comes_back(tmp_path: Path) -> None:
    """Guards weights, manifest and the copied encoder through a round trip, and that nothing is pickled."""
    encoder = tmp_path / "trained"
    (encoder / "tensorboard").mkdir(parents=True)
    (encoder / "config.json").write_text("{}")
    made = network()
    folder = write_artifact(tmp_path / "policy", manifest(encoder="encoder"), made, encoder=encoder)
    read = read_artifact(folder)
    assert all(torch.equal(tensor, read.network.state_dict()[name]) for name, tensor in made.state_dict().items())
    assert read.manifest.network == SIZES
    assert read.encoder_source == str(folder / "encoder")
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == [
        "encoder/config.json",
        MANIFEST_FILE,
        WEIGHTS_FILE,
    ]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def drop(path: Path, key: str) -> None:
    content = json.loads(path.read_text())
    del content[key]
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / MANIFEST_FILE).unlink(), "missing"),
        (lambda folder: (folder / MANIFEST_FILE).write_text("{"), "not a manifest"),
        (lambda folder: (folder / MANIFEST_FILE).write_text("[]"), "not a manifest"),
        (lambda folder: edit(folder / MANIFEST_FILE, schema_version=2), "schema version 2"),
        (lambda folder: drop(folder / MANIFEST_FILE, "shots"), "without the key"),
        (lambda folder: edit(folder / MANIFEST_FILE, features=["other"]), "features"),
        (lambda folder: edit(folder / MANIFEST_FILE, network={**SIZES, "hidden": 8}), "unlike its manifest"),
        (lambda folder: edit(folder / MANIFEST_FILE, network={"depth": 3}), "unlike its manifest"),
        (lambda folder: edit(folder / MANIFEST_FILE, fingerprints=None), "fingerprints is None"),
        (lambda folder: edit(folder / MANIFEST_FILE, fingerprints={"pool": 3}), "fingerprints is"),
        (lambda folder: edit(folder / MANIFEST_FILE, kind=[]), "kind is"),
        (lambda folder: edit(folder / MANIFEST_FILE, shots=True), "shots is True"),
        (lambda folder: edit(folder / MANIFEST_FILE, shortlist_size="5"), "shortlist_size is '5'"),
        (lambda folder: edit(folder / MANIFEST_FILE, max_per_label="2"), "max_per_label is '2'"),
        (lambda folder: edit(folder / MANIFEST_FILE, token_budget=0), "token_budget is 0"),
        (lambda folder: edit(folder / MANIFEST_FILE, encoder=None), "encoder is None"),
        (lambda folder: edit(folder / MANIFEST_FILE, metrics={"dev": "high"}), "metrics is"),
        (lambda folder: edit(folder / MANIFEST_FILE, network=None), "network is None"),
        (
            lambda folder: edit(folder / MANIFEST_FILE, features=feature_names(lm_features=True)),
            "network for 5 features",
        ),
        (lambda folder: (folder / WEIGHTS_FILE).unlink(), "missing or changed"),
        (lambda folder: flip(folder / WEIGHTS_FILE), "missing or changed"),
        (lambda folder: (folder / WEIGHTS_FILE).write_bytes(b""), "missing or changed"),
    ],
)
def test_every_damage_to_an_artifact_is_named(tmp_path: Path, damage: object, message: str) -> None:
    """Guards against a damaged policy that selects all the same."""
    folder = write_artifact(tmp_path / "policy", manifest(), network())
    damage(folder)  # type: ignore[operator]
    with pytest.raises(ArtifactError, match=message):
        read_artifact(folder)


def test_a_network_and_its_manifest_agree_on_the_language_model(tmp_path: Path) -> None:
    """Guards features of the prompt: a network that lacks them, or has them alone, failed when it chose."""
    names = feature_names(lm_features=True)
    sizes = PointerNetworkConfig(width=32, features=len(names))
    asks = manifest(network=vars(sizes), features=names)
    with pytest.raises(ArtifactError, match="made for 0 features of a prompt"):
        read_artifact(write_artifact(tmp_path / "policy", asks, PointerNetwork(sizes), check=lambda _: None))


def test_writing_replaces_artifacts_and_nothing_else(tmp_path: Path) -> None:
    """Guards a user's folder, and the old artifact when the new one is refused."""
    write_artifact(tmp_path / "policy", manifest(), network(seed=1))
    old = (tmp_path / "policy" / WEIGHTS_FILE).read_bytes()

    def refuse(_: object) -> None:
        raise ArtifactError("x", expected="y", remedy="z")

    with pytest.raises(ArtifactError):
        write_artifact(tmp_path / "policy", manifest(), network(seed=2), check=refuse)
    assert (tmp_path / "policy" / WEIGHTS_FILE).read_bytes() == old
    write_artifact(tmp_path / "policy", manifest(), network(seed=2))
    assert (tmp_path / "policy" / WEIGHTS_FILE).read_bytes() != old
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("x")
    with pytest.raises(ArtifactError, match="chapter"):
        write_artifact(tmp_path / "thesis", manifest(), network())
    (tmp_path / "thesis" / "manifest.json").write_text('{"name": "my web page"}')  # many things have a manifest
    with pytest.raises(ArtifactError, match="chapter"):
        write_artifact(tmp_path / "thesis", manifest(), network())
    (tmp_path / "policy" / "notes.txt").write_text("dear")
    with pytest.raises(ArtifactError, match="notes"):
        write_artifact(tmp_path / "policy", manifest(), network())
    assert (tmp_path / "policy" / "notes.txt").read_text() == "dear"
    assert [path.name for path in tmp_path.iterdir()].count("thesis") == 1


def test_a_full_disk_is_named_where_tensors_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards checkpoints and artifacts on a full disk: safetensors hides the system's error in a text of its own."""
    import safetensors.torch
    from safetensors import SafetensorError

    def full(*_: object) -> None:
        raise SafetensorError("Error while serializing: IoError(Os { code: 28, message: No space left on device })")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(DiskFullError, match="finished work is kept"):
        write_artifact(tmp_path / "policy", manifest(), network())
    assert list(tmp_path.iterdir()) == []

    def other(*_: object) -> None:
        raise SafetensorError("something else")

    monkeypatch.setattr(safetensors.torch, "save_file", other)
    with pytest.raises(SafetensorError):
        write_artifact(tmp_path / "policy", manifest(), network())
