"""Tests of retriever training: it learns what mining found, repeats itself, and never leaves half a folder."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from policies import epr
from policies.epr import train_retriever
from policies.evaluation_points import EvaluationPoints
from policies.label_rule import LabelRule
from policies.mined import Candidate, MinedQuery
from policies.mined_storage import append_mined
from policies.mining import MiningConfig, mine
from policies.retriever_config import RetrieverTrainingConfig
from policies.retriever_material import TrainingMaterial
from policies.retriever_metrics import label_votes
from selector.data.pool import Pool
from selector.errors import ArtifactError, DataFileError, DiskFullError, ModelLoadError, ShotsmithError
from selector.inference.engine import InferenceEngine
from selector.retrieval.encoder import SentenceEncoder, weights_fingerprint
from selector.strategies.determinantal import DPPSelector
from selector.strategies.random import RandomSelector
from selector.strategies.retriever import RetrieverSelector, read_retriever_card
from selector.testing import ToyLanguageModel, planted_examples, planted_pool, planted_template

QUICK = RetrieverTrainingConfig(epochs=1, batch_size=8, learning_rate=1e-3)
POOL = planted_pool(40)


@pytest.fixture(scope="module")
def trained(tiny_bert: Path, mined: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A retriever trained long enough to learn the planted labels."""
    config = RetrieverTrainingConfig(epochs=12, batch_size=8, learning_rate=3e-3)
    dev = planted_examples(30, seed=5, prefix="dev")
    out = tmp_path_factory.mktemp("trained") / "retriever"
    return train_retriever(mined, POOL, base_encoder=tiny_bert, config=config, out=out, dev=dev)


def test_training_learns_what_the_language_model_prefers(trained: Path, tiny_bert: Path) -> None:
    """Guards swapped columns or polarity: then the margin and the vote would fall.

    Pair accuracy over 480 pairs rises by 0.3 at least, and the vote is right on nearly all of 30 dev queries; an
    untrained change of the pair accuracy by that much is out of reach of chance.
    """
    card = read_retriever_card(trained)
    assert card.metrics["mined_positive_label_agreement"] > 0.8
    assert card.metrics["mined_pair_accuracy_after"] > card.metrics["mined_pair_accuracy_before"] + 0.3
    assert card.metrics["dev_label_vote_accuracy_after"] > card.metrics["dev_label_vote_accuracy_before"]
    assert card.metrics["dev_label_vote_accuracy_after"] >= 0.9
    # The folder holds the weights that were measured.
    dev = planted_examples(30, seed=5, prefix="dev")
    loaded = label_votes(SentenceEncoder.load(trained), POOL, dev).accuracy
    assert loaded == card.metrics["dev_label_vote_accuracy_after"]
    before = label_votes(SentenceEncoder.load(tiny_bert), POOL, dev).accuracy
    assert before == card.metrics["dev_label_vote_accuracy_before"]


def test_the_folder_serves_without_this_package(trained: Path) -> None:
    """Guards the layout: both our selector and plain sentence-transformers read it, and nothing is pickled."""
    from sentence_transformers import SentenceTransformer

    query = planted_examples(1, seed=9, prefix="query")[0]
    (selection,) = RetrieverSelector.load(trained, POOL).select([query], 4)
    assert len(selection.indices) == 4
    plain = SentenceTransformer(str(trained), device="cpu")
    assert plain.encode([query.fields["text"]], show_progress_bar=False).shape == (1, 32)
    names = {path.name for path in trained.rglob("*")}
    assert {"shotsmith.json", "README.md", "model.safetensors", "tensorboard"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]
    readme = (trained / "README.md").read_text()
    assert POOL.fingerprint in readme
    assert "mined_pair_accuracy_after" in readme


def test_the_same_seed_gives_the_same_weights(tiny_bert: Path, mined: Path, tmp_path: Path) -> None:
    """Guards against randomness that the seed does not reach, and against reseeding the caller's generators."""
    weights = []
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state().tolist()  # noqa: NPY002
    for number, seed in enumerate((3, 3, 4)):
        config = RetrieverTrainingConfig(epochs=2, batch_size=8, learning_rate=3e-3, evaluations=1, seed=seed)
        folder = train_retriever(mined, POOL, base_encoder=tiny_bert, config=config, out=tmp_path / str(number))
        weights.append(SentenceEncoder.load(folder).fingerprint)
    assert weights[0] == weights[1] != weights[2]
    now = random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state().tolist()  # noqa: NPY002
    assert now == states


def test_training_says_how_far_it_is_and_prints_nothing(
    tiny_bert: Path, mined: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Guards against the trainer's own bars and dictionaries on the user's terminal."""
    from contextlib import contextmanager

    seen = []

    class Recording:
        @contextmanager
        def track(self, description, total):
            steps = []
            yield steps.append
            seen.append((description, total, sum(steps)))

    capfd.readouterr()
    train_retriever(mined, POOL, base_encoder=tiny_bert, config=QUICK, out=tmp_path / "quiet", progress=Recording())
    ((_, total, steps),) = seen
    assert total == steps > 1
    assert capfd.readouterr() == ("", "")


def test_an_interrupted_training_leaves_nothing(
    tiny_bert: Path, mined: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against a half folder that looks like a retriever, and against losing the one that was there."""
    out = train_retriever(mined, POOL, base_encoder=tiny_bert, config=QUICK, out=tmp_path / "retriever")
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(epr, "write_retriever", interrupted)
        for place in (out, tmp_path / "other"):
            with pytest.raises(KeyboardInterrupt):
                train_retriever(mined, POOL, base_encoder=tiny_bert, config=QUICK, out=place)
    assert {path for path in tmp_path.iterdir() if not path.name.startswith(".")} == {out}
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    shutil.rmtree(tmp_path / ".other-training")
    train_retriever(mined, POOL, base_encoder=tiny_bert, config=QUICK, out=out)
    assert list(tmp_path.iterdir()) == [out]


def test_an_interrupted_training_goes_on_to_the_same_weights(
    tiny_bert: Path, mined: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards resuming: epochs that are done are not done again, and weights, evaluations and card come out alike."""
    config = RetrieverTrainingConfig(epochs=4, batch_size=8, learning_rate=1e-3, evaluations=1)
    dev = planted_examples(30, seed=5, prefix="dev")
    arguments = {"base_encoder": tiny_bert, "config": config, "dev": dev}
    whole = train_retriever(mined, POOL, out=tmp_path / "whole", **arguments)  # type: ignore[arg-type]
    ended: list[int] = []

    def third_epoch_fails(self: EvaluationPoints, args: object, state: Any, control: object, **_: object) -> None:
        mark(self, args, state, control)
        ended.append(state.global_step)
        if len(ended) == 3:
            raise KeyboardInterrupt

    mark = EvaluationPoints.on_save
    with monkeypatch.context() as patch:
        patch.setattr(EvaluationPoints, "on_save", third_epoch_fails)
        with pytest.raises(KeyboardInterrupt):
            train_retriever(mined, POOL, out=tmp_path / "halved", **arguments)  # type: ignore[arg-type]
    # A checkpoint that was not written to its end is passed over.
    newest = max(
        (tmp_path / ".halved-training" / "trainer").glob("checkpoint-*"), key=lambda path: path.stat().st_mtime
    )
    (newest / "whole").unlink()
    steps: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(
            EvaluationPoints, "on_save", lambda self, args, state, control, **_: steps.append(state.global_step)
        )
        halved = train_retriever(mined, POOL, out=tmp_path / "halved", **arguments)  # type: ignore[arg-type]
    assert (steps[0], len(steps)) == (ended[2], 2)
    assert SentenceEncoder.load(halved).fingerprint == SentenceEncoder.load(whole).fingerprint
    assert read_retriever_card(halved) == read_retriever_card(whole)


@pytest.mark.parametrize(("judged", "kept"), [([0.5, 0.9, 0.6, 0.7, 0.95], 1), ([0.9, 0.5, 0.6, 0.7], 0)])
def test_the_best_weights_are_kept_and_patience_ends_training(
    judged: list[float],
    kept: int,
    tiny_bert: Path,
    mined: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Guards early stopping: of .5 .9 .6 .7 .95 the second is kept, and the untrained weights where all are worse."""
    values = iter(judged)
    fingerprints: list[str] = []

    def evaluator(self: TrainingMaterial, model: Any, *_: object) -> Callable[[], float]:
        def evaluate() -> float:
            fingerprints.append(weights_fingerprint(model))
            return next(values)

        return evaluate

    monkeypatch.setattr(TrainingMaterial, "evaluator", evaluator)
    config = RetrieverTrainingConfig(epochs=5, batch_size=8, learning_rate=1e-3, evaluations=1, patience=2)
    out = train_retriever(mined, POOL, base_encoder=tiny_bert, config=config, out=tmp_path / "retriever")
    assert len(fingerprints) == kept + 3
    assert SentenceEncoder.load(out).fingerprint == fingerprints[kept]


@pytest.mark.parametrize(
    "options",
    [
        {"distillation": 1.0, "contrastive": 0.2, "hard_negatives": 3},
        {"encoders": 2},
        {"labelled_demonstrations": False},
        {"rule": LabelRule("threshold"), "unscored": 0},
        {"rule": LabelRule("all"), "unscored": 0},
    ],
    ids=str,
)
def test_every_option_learns_and_serves(options: dict[str, Any], tiny_bert: Path, mined: Path, tmp_path: Path) -> None:
    """Guards options that train something else than what is served: the loaded folder ranks as the card says."""
    config = RetrieverTrainingConfig(epochs=8, batch_size=8, learning_rate=3e-3, patience=8, **options)
    dev = planted_examples(30, seed=5, prefix="dev")
    out = train_retriever(mined, POOL, base_encoder=tiny_bert, config=config, out=tmp_path / "retriever", dev=dev)
    card = read_retriever_card(out)
    assert card.metrics["mined_pair_accuracy_after"] > card.metrics["mined_pair_accuracy_before"]
    selector = RetrieverSelector.load(out, POOL)
    votes = label_votes(
        selector.encoder,
        POOL,
        dev,
        labelled=selector.labelled_demonstrations,
    )
    assert votes.accuracy == card.metrics["dev_label_vote_accuracy_after"]
    assert votes.share == card.metrics["dev_label_share_after"]
    assert (selector.query_encoder is not selector.encoder) == (config.encoders == 2)


def test_free_text_targets_are_judged_on_held_out_queries(tiny_bert: Path, mined: Path, tmp_path: Path) -> None:
    """Guards tasks without labels: no label rule, no vote, and queries that judge are not trained on."""
    config = RetrieverTrainingConfig(epochs=2, batch_size=8, learning_rate=1e-3)
    dev = planted_examples(30, seed=5, prefix="dev")
    out = train_retriever(
        mined, POOL, base_encoder=tiny_bert, config=config, out=tmp_path / "retriever", dev=dev, labels=()
    )
    metrics = read_retriever_card(out).metrics
    assert (metrics["mined_queries"], metrics["unscored_queries"]) == (36, 0)
    assert "held_out_pair_accuracy_after" in metrics
    assert "dev_label_vote_accuracy_after" not in metrics


def test_a_saved_index_spares_embedding(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the index beside a retriever: same choices, nothing embedded but queries and what is new in the pool."""
    folder = tmp_path / "retriever"
    shutil.copytree(trained, folder)
    first = RetrieverSelector.load(folder, POOL)
    queries = planted_examples(4, seed=9, prefix="query")
    wanted = first.select(queries, 4)
    first.save_index(folder)
    changed = Pool([*list(POOL)[5:], *planted_examples(2, seed=77, prefix="new")])
    embedded: list[str] = []
    encode = SentenceEncoder.encode

    def counting(self: SentenceEncoder, texts: Sequence[str]) -> Any:
        embedded.extend(texts)
        return encode(self, texts)

    monkeypatch.setattr(SentenceEncoder, "encode", counting)
    assert RetrieverSelector.load(folder, POOL).select(queries, 4) == wanted
    assert len(embedded) == 4
    embedded.clear()
    chosen = RetrieverSelector.load(folder, changed).select(queries, 4)
    assert len(embedded) == 6
    monkeypatch.undo()
    fresh = RetrieverSelector(changed, first.encoder, labelled_demonstrations=True)
    assert [one.indices for one in chosen] == [one.indices for one in fresh.select(queries, 4)]
    diverse = DPPSelector(fresh).select(queries, 3)
    monkeypatch.setattr(SentenceEncoder, "encode", counting)
    embedded.clear()
    assert DPPSelector(RetrieverSelector.load(folder, changed)).select(queries, 3) == diverse
    assert len(embedded) == 6, "the pool was embedded, which the index holds"
    (folder / "index" / "index.json").unlink()
    with pytest.raises(ArtifactError, match="Build it again"):
        RetrieverSelector.load(folder, POOL)
    assert RetrieverSelector.load(folder, POOL, use_index=False).select(queries, 4) == wanted


def test_a_full_disk_is_named(tiny_bert: Path, mined: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the safetensors error for a full disk, which is not an OSError."""
    from safetensors import SafetensorError
    from sentence_transformers import SentenceTransformer

    def full(*_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(SentenceTransformer, "save", full)
    with pytest.raises(DiskFullError):
        train_retriever(mined, POOL, base_encoder=tiny_bert, config=QUICK, out=tmp_path / "retriever")
    assert not list(tmp_path.iterdir())


def test_a_diverged_training_is_named(tiny_bert: Path, mined: Path, tmp_path: Path) -> None:
    """Guards against a retriever of NaN, which would rank everything equally without a word."""
    config = RetrieverTrainingConfig(epochs=4, batch_size=8, learning_rate=1e38, warmup_ratio=0.0)
    with pytest.raises(ShotsmithError, match="learning rate"):
        train_retriever(mined, POOL, base_encoder=tiny_bert, config=config, out=tmp_path / "retriever")
    assert not (tmp_path / "retriever").exists()


def test_what_was_hidden_from_mined_queries_is_counted(tiny_bert: Path, tmp_path: Path) -> None:
    """Guards the card against counting each member as a leak of itself, or no leak at all."""
    pool = Pool([*planted_pool(12), replace(POOL[0], uid="copy"), replace(POOL[0], uid="third")])
    engine = InferenceEngine(ToyLanguageModel(), planted_template(), pool)
    mined = mine(engine, pool, recall=RandomSelector(pool), config=MiningConfig(candidates=8), out=tmp_path / "mined")
    out = train_retriever(mined, pool, base_encoder=tiny_bert, config=QUICK, out=tmp_path / "retriever")
    assert read_retriever_card(out).hidden_duplicates == 3 * 2


def test_unusable_mined_files_are_named(tiny_bert: Path, mined: Path, tmp_path: Path) -> None:
    """Guards against training on nothing, or on positions of another pool."""
    with pytest.raises(DataFileError, match="mine first"):
        train_retriever(tmp_path / "none.jsonl", POOL, base_encoder=tiny_bert, out=tmp_path / "out")
    with pytest.raises(DataFileError, match="pool"):
        train_retriever(mined, planted_pool(39), base_encoder=tiny_bert, out=tmp_path / "out")
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "mining.json").write_bytes((mined / "mining.json").read_bytes())
    flat = MinedQuery(POOL[0], tuple(Candidate(at, POOL[at].uid, -0.5) for at in range(1, 9)))
    append_mined(tmp_path / "flat", [flat])
    with pytest.raises(DataFileError, match="none with a better"):
        train_retriever(tmp_path / "flat", POOL, base_encoder=tiny_bert, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_files_is_not_replaced(tiny_bert: Path, mined: Path, tmp_path: Path) -> None:
    """Guards the user's files against an --out that was meant for something else."""
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ArtifactError):
        train_retriever(mined, POOL, base_encoder=tiny_bert, config=QUICK, out=tmp_path)
    assert (tmp_path / "thesis.tex").exists()


@pytest.mark.parametrize("name", ["mined.jsonl", "notes.txt", "round-one"])
def test_a_retriever_with_other_files_is_not_replaced(
    name: str, trained: Path, tiny_bert: Path, mined: Path, tmp_path: Path
) -> None:
    """Guards what was put into the folder of a retriever: it was deleted, were it what the training reads."""
    out = tmp_path / "epr"
    shutil.copytree(trained, out)
    (out / name).mkdir()
    with pytest.raises(ArtifactError, match=name):
        train_retriever(mined, POOL, base_encoder=tiny_bert, config=QUICK, out=out)
    assert (out / name).exists()


def test_a_missing_base_encoder_is_named(mined: Path, tmp_path: Path) -> None:
    """Guards against a traceback out of three libraries."""
    with pytest.raises(ModelLoadError, match="nowhere"):
        train_retriever(mined, POOL, base_encoder=tmp_path / "nowhere", config=QUICK, out=tmp_path / "out")


@pytest.mark.bundled
def test_the_bundled_encoder_can_be_tuned_and_served(mined: Path, tmp_path: Path) -> None:
    """Guards the real layout: the bundled name, its Normalize module, a shorter window, reloading."""
    config = RetrieverTrainingConfig(epochs=1, batch_size=16, max_seq_length=32)
    out = train_retriever(mined, POOL, base_encoder="all-minilm-l6-v2", config=config, out=tmp_path / "retriever")
    assert json.loads((out / "shotsmith.json").read_text())["base_encoder"] == "all-minilm-l6-v2"
    selector = RetrieverSelector.load(out, POOL)
    (selection,) = selector.select([POOL[0]], 4)
    assert 0 not in selection.indices
    assert selector.encoder.fingerprint != SentenceEncoder.load("all-minilm-l6-v2").fingerprint
