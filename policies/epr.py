"""Trains the EPR retriever on mined candidates (Rubin et al., 2022) with sentence-transformers.

One encoder embeds queries (input) and demonstrations (input and label). Each row is a query, one of its positives and
one of its hard negatives; the other rows of a batch are negatives too. The result is a folder that any
sentence-transformers user can load, with a card of ours beside it.
"""

from __future__ import annotations

import random
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from policies.mining import MinedQuery, read_header, read_mined
from selector.data.assets import find_bundled, is_bundled
from selector.data.pool import Pool
from selector.errors import ArtifactMismatchError, DataFileError, ModelLoadError, UsageError
from selector.progress import SILENT, Progress
from selector.prompting.embedding_text import input_text, labelled_text
from selector.retrieval.encoder import SentenceEncoder, TextEncoder, weights_fingerprint
from selector.strategies.dense import NearestSelector
from selector.strategies.retriever import CARD_FILE, RetrieverCard, write_retriever_card
from selector.types import Example

VOTERS = 8  # retrieved demonstrations whose labels vote, to judge a retriever without a language model


@dataclass(frozen=True)
class RetrieverTrainingConfig:
    """How a retriever is trained.

    Attributes:
        epochs: Passes over the rows.
        batch_size: Rows in a batch.
        learning_rate: Peak learning rate of AdamW.
        warmup: Share of the steps in which the learning rate rises.
        positives: How many of a query's best candidates are positives; one row is made for each.
        negatives: How many of its worst are hard negatives; each row gets a random one.
        scale: Inverse temperature of the contrastive loss.
        max_seq_length: Tokens to which texts are cut.
        seed: Seeds rows, shuffling and dropout.
    """

    epochs: int = 2
    batch_size: int = 16
    learning_rate: float = 5e-5
    warmup: float = 0.1
    positives: int = 4
    negatives: int = 5
    scale: float = 20.0
    max_seq_length: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.epochs, self.positives, self.negatives) < 1 or self.batch_size < 2:
            raise UsageError(
                f"epochs {self.epochs}, positives {self.positives}, negatives {self.negatives}, "
                f"batch size {self.batch_size} were asked for",
                expected="at least 1 of each and a batch size of at least 2",
                remedy="Choose other numbers.",
            )


def train_retriever(
    mined: Path,
    pool: Pool,
    *,
    base_encoder: str | Path,
    config: RetrieverTrainingConfig,
    out: Path,
    queries: Sequence[Example] = (),
    dev: Sequence[Example] = (),
    progress: Progress = SILENT,
) -> Path:
    """Trains a retriever.

    Args:
        mined: The folder of `policies.mining.mine`.
        pool: The pool that was mined.
        base_encoder: Where training starts: a bundled name, a folder or a hub id.
        config: How to train.
        out: The folder of the retriever; replaced when all is done.
        queries: Mined queries that are not in the pool.
        dev: Labelled queries on which the label vote is measured before and after.
        progress: Shows steps.

    Returns:
        The folder.

    Raises:
        ArtifactMismatchError: When another pool was mined.
        DataFileError: When nothing usable was mined.
        ModelLoadError: When the base encoder cannot be loaded.
    """
    header = read_header(mined)
    fingerprints = header["fingerprints"]
    if fingerprints["pool"] != pool.fingerprint:
        raise ArtifactMismatchError(
            part="pool", artifact=fingerprints["pool"], present=pool.fingerprint, remedy="Mine this pool first."
        )
    if out.exists() and any(out.iterdir()) and not (out / CARD_FILE).is_file():
        raise UsageError(f"{out} holds other files", expected="a retriever or nothing", remedy="Choose another --out.")
    rows = list(read_mined(mined))
    known = {example.uid: example for example in (*queries, *pool)}
    triplets = training_rows(rows, known, config)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        made = Path(scratch) / "retriever"
        model = _base_model(base_encoder, config)
        metrics = {"mined_label_agreement": label_agreement(rows, known, config.positives)}
        if dev:
            metrics["dev_label_vote_before"] = vote_accuracy(_encoder(model), pool, dev, labelled=True)
        _fit(model, triplets, config=config, out=made, progress=progress)
        if dev:
            metrics["dev_label_vote_after"] = vote_accuracy(_encoder(model), pool, dev, labelled=True)
        model.save(str(made), create_model_card=False)
        card = RetrieverCard(
            base_encoder=str(base_encoder),
            pool_fingerprint=pool.fingerprint,
            template_fingerprint=fingerprints["template"],
            lm_fingerprint=fingerprints["language model"],
            metrics=metrics,
        )
        write_retriever_card(made, card)
        (made / "README.md").write_text(_model_card(card, len(rows), config), encoding="utf-8")
        shutil.rmtree(out, ignore_errors=True)
        made.rename(out)
    return out


def training_rows(
    mined: Sequence[MinedQuery], known: dict[str, Example], config: RetrieverTrainingConfig
) -> list[tuple[str, str, str]]:
    """Applies the label rule: the best candidates are positives, a random one of the worst is the negative.

    Args:
        mined: Mined queries.
        known: Uid to example.
        config: How many positives and negatives.

    Returns:
        Texts of query, positive and negative; a candidate is never both.

    Raises:
        DataFileError: When no query has both, or a uid is not known.
    """
    rng = np.random.default_rng(config.seed)
    rows = []
    for query in mined:
        unknown = [uid for uid in (query.uid, *query.candidates) if uid not in known]
        if unknown:
            raise DataFileError(
                f"the mined uid {unknown[0]!r} is not known", expected="a uid of the pool", remedy="Mine this pool."
            )
        half = len(query.candidates) // 2
        positives = query.candidates[: min(config.positives, half)]
        negatives = query.candidates[-min(config.negatives, half) :] if half else ()
        for positive in positives:
            negative = negatives[int(rng.integers(len(negatives)))]
            texts = (input_text(known[query.uid]), labelled_text(known[positive]), labelled_text(known[negative]))
            rows.append(texts)
    if not rows:
        raise DataFileError("nothing that was mined can be trained on", expected="candidates", remedy="Mine more.")
    return rows


def label_agreement(mined: Sequence[MinedQuery], known: dict[str, Example], positives: int) -> float:
    """Measures how many positives bear their query's label.

    Args:
        mined: Mined queries.
        known: Uid to example.
        positives: How many of a query's best candidates count.

    Returns:
        The share between 0 and 1.
    """
    same = [known[uid].label == known[row.uid].label for row in mined for uid in row.candidates[:positives]]
    return float(np.mean(same)) if same else 0.0


def vote_accuracy(encoder: TextEncoder, pool: Pool, queries: Sequence[Example], *, labelled: bool) -> float:
    """Measures a retriever without a language model: the retrieved labels vote.

    Args:
        encoder: The encoder.
        pool: The pool.
        queries: Labelled queries.
        labelled: Whether demonstrations are embedded with their label.

    Returns:
        The share of queries whose most frequent retrieved label is right.
    """
    nearest = NearestSelector(pool, encoder, labelled_demonstrations=labelled)
    selections = nearest.select(queries, min(VOTERS, len(pool) - 1))
    votes = [Counter(str(pool[index].label) for index in selection.indices[::-1]) for selection in selections]
    right = [vote.most_common(1)[0][0] == query.label for vote, query in zip(votes, queries, strict=True)]
    return float(np.mean(right))


def _base_model(base_encoder: str | Path, config: RetrieverTrainingConfig) -> Any:
    from sentence_transformers import SentenceTransformer

    place = find_bundled(str(base_encoder)) if is_bundled(str(base_encoder)) else base_encoder
    try:
        model = SentenceTransformer(str(place), model_kwargs={"use_safetensors": True})
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise ModelLoadError(
            f"base encoder {str(base_encoder)!r} cannot be loaded ({str(error).splitlines()[0]})",
            expected="a bundled name, a sentence-transformers folder or a hub id",
            remedy="Check the name, and the network for a hub id.",
        ) from error
    model.max_seq_length = min(config.max_seq_length, model.max_seq_length or config.max_seq_length)
    return model


def _encoder(model: Any) -> SentenceEncoder:
    return SentenceEncoder(model, fingerprint=weights_fingerprint(model), source="in training")


def _fit(
    model: Any,
    triplets: Sequence[tuple[str, str, str]],
    *,
    config: RetrieverTrainingConfig,
    out: Path,
    progress: Progress,
) -> None:
    import torch
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from sentence_transformers.sentence_transformer.training_args import BatchSamplers

    columns = zip(*triplets, strict=True)
    data = Dataset.from_dict(dict(zip(("anchor", "positive", "negative"), map(list, columns), strict=True)))
    state, numpy_state, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(out),
        num_train_epochs=config.epochs,
        per_device_train_batch_size=min(config.batch_size, len(triplets)),
        learning_rate=config.learning_rate,
        warmup_steps=config.warmup,
        seed=config.seed,
        data_seed=config.seed,
        # A text that occurs twice in a batch would be its own negative.
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=False,
        save_strategy="no",
        logging_steps=5,
        report_to=[],
        disable_tqdm=True,
    )
    steps = -(-len(triplets) // arguments.per_device_train_batch_size) * config.epochs
    try:
        with progress.track("train retriever", steps) as advance, warnings.catch_warnings():
            # The trainer sets up with defaults that torch has deprecated; nothing a user can act on.
            warnings.filterwarnings("ignore", category=FutureWarning)
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            trainer = SentenceTransformerTrainer(
                model=model,
                args=arguments,
                train_dataset=data,
                loss=MultipleNegativesRankingLoss(model, scale=config.scale),
                callbacks=[_callback(advance, out / "tensorboard")],
            )
            for unwanted in ("PrinterCallback", "ProgressCallback"):
                for callback in list(trainer.callback_handler.callbacks):
                    if type(callback).__name__ == unwanted:
                        trainer.remove_callback(callback)
            trainer.train()
    finally:  # the trainer seeds the global generators; what runs behind it must not notice
        random.setstate(state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        torch.set_rng_state(torch_state)
    model.eval()


def _callback(advance: Callable[[int], None], folder: Path) -> Any:
    from torch.utils.tensorboard import SummaryWriter
    from transformers import TrainerCallback

    class Bars(TrainerCallback):  # type: ignore[misc]
        """Moves the bar and writes the loss for TensorBoard."""

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self.writer = SummaryWriter(str(folder))

        def on_step_end(self, *_: Any, **__: Any) -> None:
            advance(1)

        def on_log(self, _: Any, state: Any, *__: Any, logs: dict[str, float] | None = None, **___: Any) -> None:
            for name, value in (logs or {}).items():
                self.writer.add_scalar(f"retriever/{name}", value, state.global_step)

        def on_train_end(self, *_: Any, **__: Any) -> None:
            self.writer.close()

    return Bars()


def _model_card(card: RetrieverCard, mined: int, config: RetrieverTrainingConfig) -> str:
    metrics = "\n".join(f"| {name.replace('_', ' ')} | {value:.3f} |" for name, value in card.metrics.items())
    return f"""---
library_name: sentence-transformers
tags: [sentence-transformers, shotsmith, demonstration-selection]
---
# A demonstration retriever

Trained by shotsmith from `{card.base_encoder}` on {mined} mined queries ({config.epochs} epochs, learning rate
{config.learning_rate}) to rank demonstrations for in-context learning. Queries are embedded as their input,
demonstrations as their input and label, one per line; compare by dot product.

| measured in training | |
|---|---|
{metrics}

Made for language model `{card.lm_fingerprint[:12]}`, pool `{card.pool_fingerprint[:12]}`, template
`{card.template_fingerprint[:12]}`.
"""
