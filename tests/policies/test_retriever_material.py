"""Tests of what a retriever is trained on and judged by: rounds of mining, labels alone, evaluations that are kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from policies import retriever_material
from policies.epr import train_retriever
from policies.evaluation_points import HISTORY_FILE, EvaluationPoints, read_evaluations
from policies.mined import Candidate, MinedQuery
from policies.mined_storage import append_mined
from policies.mining import MiningConfig, mine
from policies.recall import build_recall
from policies.retriever_config import RetrieverTrainingConfig
from policies.retriever_material import gather, read_lines
from policies.retriever_metrics import label_votes
from selector.errors import DataFileError
from selector.inference.engine import InferenceEngine
from selector.retrieval.encoder import SentenceEncoder
from selector.strategies.retriever import RetrieverSelector, read_retriever_card
from selector.testing import ToyEncoder, ToyLanguageModel, planted_examples, planted_pool, planted_template

POOL = planted_pool(40)
DEV = planted_examples(30, seed=5, prefix="dev")
LONG = RetrieverTrainingConfig(epochs=12, batch_size=8, learning_rate=3e-3, patience=12)


def test_labels_alone_train_a_retriever(tiny_bert: Path, tmp_path: Path) -> None:
    """Guards training without anything mined: the whole pool by its labels, and no language model on the card."""
    out = train_retriever([], POOL, base_encoder=tiny_bert, config=LONG, out=tmp_path / "retriever", dev=DEV)
    card = read_retriever_card(out)
    assert (card.metrics["mined_queries"], card.metrics["unscored_queries"]) == (0, 40)
    assert card.metrics["dev_label_share_after"] > card.metrics["dev_label_share_before"] + 0.2
    assert (card.lm, card.lm_fingerprint) == ("", "")


def test_members_that_are_not_mined_are_trained_on_by_label(tiny_bert: Path, mined: Path, tmp_path: Path) -> None:
    """Guards the larger part of the default recipe: a mined tenth of the pool, and all the rest by label."""
    few = tmp_path / "few"
    few.mkdir()
    (few / "mining.json").write_bytes((mined / "mining.json").read_bytes())
    append_mined(few, read_lines([mined], POOL)[1][:4])
    counts, shares = [], []
    for unscored in (0, 2000):
        config = RetrieverTrainingConfig(batch_size=8, learning_rate=3e-3, epochs=12, patience=12, unscored=unscored)
        folder = train_retriever(
            few, POOL, base_encoder=tiny_bert, config=config, out=tmp_path / str(unscored), dev=DEV
        )
        metrics = read_retriever_card(folder).metrics
        counts.append((metrics["mined_queries"], metrics["unscored_queries"]))
        shares.append(metrics["dev_label_share_after"])
    assert counts == [(4, 0), (4, 36)]
    assert shares[1] > shares[0]


def test_a_second_round_is_mined_with_the_first_retriever(tiny_bert: Path, mined: Path, tmp_path: Path) -> None:
    """Guards iterated mining from end to end: a folder recalls what its retriever retrieves, and both rounds train."""
    first = train_retriever(mined, POOL, base_encoder=tiny_bert, config=LONG, out=tmp_path / "first", dev=DEV)
    recall = build_recall([str(first)], pool=POOL, encoder=ToyEncoder(), seed=0)
    engine = InferenceEngine(ToyLanguageModel(), planted_template(), POOL)
    again = mine(engine, POOL, recall=recall, config=MiningConfig(candidates=12), out=tmp_path / "again")
    retriever = RetrieverSelector.load(first, POOL)
    line = read_lines([again], POOL)[1][0]
    (retrieved,) = retriever.select([line.query], 12)
    assert {one.position for one in line.candidates} == set(retrieved.indices)
    joined = read_lines([mined, again], POOL)[1]
    assert len(joined) == len(POOL)
    assert max(len(one.candidates) for one in joined) > 12
    second = train_retriever([mined, again], POOL, base_encoder=tiny_bert, config=LONG, out=tmp_path / "second")
    assert read_retriever_card(second).metrics["mined_pair_accuracy_after"] > 0.8


def test_contexts_that_recall_chose_otherwise_are_not_joined(tmp_path: Path) -> None:
    """Guards scores behind other demonstrations, though behind as many, in one list."""
    engine = InferenceEngine(ToyLanguageModel(), planted_template(), POOL)
    for context in (0, 2):
        places = [tmp_path / f"{name}-{context}" for name in ("nearest", "bm25")]
        for place, name in zip(places, ("nearest", "bm25"), strict=True):
            recall = build_recall([name], pool=POOL, encoder=ToyEncoder(), seed=0)
            mine(engine, POOL[:4], recall=recall, config=MiningConfig(candidates=5, context=context), out=place)
        if context:
            with pytest.raises(DataFileError, match="recall"):
                read_lines(places, POOL)
        else:
            assert len(read_lines(places, POOL)[1]) == 4


def test_agreement_is_that_of_scores_and_labels(tiny_bert: Path, tmp_path: Path) -> None:
    """Guards a figure that is 1 by construction: what the label rule leaves out counts as disagreement."""
    query = POOL[0]
    same = [at for at in range(1, 40) if POOL[at].label == query.label][:4]
    other = [at for at in range(1, 40) if POOL[at].label != query.label][:4]
    order = [other[0], other[1], other[2], same[0], same[1], same[2], same[3], other[3]]
    line = MinedQuery(query, tuple(Candidate(at, POOL[at].uid, -0.1 * rank) for rank, at in enumerate(order)))
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(tiny_bert), device="cpu")
    config = RetrieverTrainingConfig(unscored=0)
    material = gather([line], model, POOL, dev=DEV, labels=POOL.labels, config=config)
    assert material.counted()["mined_positive_label_agreement"] == 0.25
    assert material.counted()["mined_negative_label_agreement"] == 0.75
    assert [POOL[at].label for at in material.scored[0].positives] == [query.label]


def test_a_large_pool_is_judged_by_a_sample(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards dev against embedding millions at every evaluation, and memory against one copy for each of them."""
    monkeypatch.setattr(retriever_material, "JUDGED", 10)
    seen: list[int] = []

    def counting(encoder: SentenceEncoder, pool: object, *rest: object, **options: object) -> object:
        seen.append(len(pool))  # type: ignore[arg-type]
        return label_votes(encoder, pool, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(retriever_material, "label_votes", counting)
    config = RetrieverTrainingConfig(epochs=4, batch_size=8, learning_rate=1e-3)
    train_retriever([], POOL, base_encoder=tiny_bert, config=config, out=tmp_path / "retriever", dev=DEV)
    assert set(seen) == {10}
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(tiny_bert), device="cpu")
    material = gather([], model, POOL, dev=DEV, labels=POOL.labels, config=config)
    evaluate = material.evaluator(model, POOL, config)
    assert evaluate is not None
    for _ in range(4):
        evaluate()
        for weights in model.parameters():
            weights.data.mul_(1.01)
    assert len(material.views) == 2


def test_what_dev_said_is_kept_with_the_retriever(tiny_bert: Path, mined: Path, tmp_path: Path) -> None:
    """Guards the curve of dev: a list in the folder and a line in TensorBoard, not a file that training deletes."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = RetrieverTrainingConfig(epochs=3, batch_size=8, learning_rate=1e-3, evaluations=1)
    out = train_retriever(mined, POOL, base_encoder=tiny_bert, config=config, out=tmp_path / "retriever", dev=DEV)
    values = json.loads((out / HISTORY_FILE).read_text())
    assert len(values) == 4
    assert max(values) == read_retriever_card(out).metrics["dev_label_share_after"]
    log = EventAccumulator(str(out / "tensorboard"))
    log.Reload()
    assert [event.value for event in log.Scalars("evaluation")] == pytest.approx(values, abs=1e-6)


@pytest.mark.parametrize("damage", ["", "{", '{"a": 1}'])
def test_a_damaged_list_of_evaluations_does_not_block_resuming(
    damage: str, tiny_bert: Path, mined: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards a training that a torn file would stop for ever with a traceback out of the JSON reader."""
    config = RetrieverTrainingConfig(epochs=3, batch_size=8, learning_rate=1e-3, evaluations=1)
    save = EvaluationPoints.on_save

    def interrupted(self: EvaluationPoints, *given: object, **more: object) -> None:
        save(self, *given, **more)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(EvaluationPoints, "on_save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_retriever(mined, POOL, base_encoder=tiny_bert, config=config, out=tmp_path / "retriever", dev=DEV)
    scratch = tmp_path / ".retriever-training"
    assert len(read_evaluations(scratch)) == 2
    (scratch / HISTORY_FILE).write_text(damage)
    out = train_retriever(mined, POOL, base_encoder=tiny_bert, config=config, out=tmp_path / "retriever", dev=DEV)
    assert len(json.loads((out / HISTORY_FILE).read_text())) == 3  # of the checkpoint, and of the two epochs after it


def test_other_labels_begin_a_training_anew(
    tiny_bert: Path, mined: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards a checkpoint against going on over batches that were planned for something else."""
    config = RetrieverTrainingConfig(epochs=2, batch_size=8, learning_rate=1e-3, evaluations=1)
    save = EvaluationPoints.on_save
    steps: list[int] = []

    def interrupted(self: EvaluationPoints, args: object, state: object, *more: object, **named: object) -> None:
        save(self, args, state, *more, **named)  # type: ignore[arg-type]
        steps.append(state.global_step)  # type: ignore[attr-defined]
        raise KeyboardInterrupt

    monkeypatch.setattr(EvaluationPoints, "on_save", interrupted)
    for labels in (POOL.labels, (*POOL.labels, "another"), (*POOL.labels, "another")):
        with pytest.raises(KeyboardInterrupt):
            train_retriever(
                mined, POOL, base_encoder=tiny_bert, config=config, out=tmp_path / "retriever", dev=DEV, labels=labels
            )
    assert steps[0] == steps[1] < steps[2]
