"""Trains the EPR retriever: a dual encoder that ranks demonstrations as the language model would (Rubin et al., 2022).

One encoder embeds queries (their input fields) and demonstrations (input fields and label). As published, each row has
a random positive from the top of the mined list, a random hard negative from its bottom, and in-batch negatives. Two
things differ: the encoder is shared and starts from a sentence encoder, and similarities are scaled cosines, so that
the result serves wherever a sentence encoder does. No language model is needed here.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from policies.contrastive import TrainingQuery, plan_batches, split_candidates
from policies.mined import MINED_FILE, MiningHeader, read_header, read_mined, writing
from selector.data.assets import find_bundled, is_bundled
from selector.data.pool import Pool
from selector.errors import ArtifactError, DataFileError, ModelLoadError, UsageError
from selector.progress import SILENT, Progress
from selector.prompting.embedding_text import input_text, labelled_text
from selector.retrieval.encoder import SentenceEncoder, TextEncoder, weights_fingerprint
from selector.strategies.dense import NearestSelector
from selector.strategies.retriever import CARD_FILE, RetrieverCard, write_retriever_card
from selector.types import Example

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

VOTERS = 8  # retrieved demonstrations whose labels vote for a dev query


@dataclass(frozen=True)
class RetrieverTrainingConfig:
    """How the retriever is trained.

    Attributes:
        epochs: Rows drawn for each mined query.
        batch_size: The most rows in a batch; at least 2.
        learning_rate: Peak learning rate.
        positives: Candidates at the top of a list that count as good.
        negatives: Candidates at its bottom that count as bad.
        scale: Cosine similarities are multiplied by it before the softmax.
        warmup_ratio: Share of the steps over which the learning rate rises.
        max_seq_length: Longest text, tokens; None leaves it to the base encoder.
        seed: Seeds rows, batches and dropout; on a CPU the same seed gives the same weights.
    """

    epochs: int = 2
    batch_size: int = 16
    learning_rate: float = 5e-5
    positives: int = 4
    negatives: int = 5
    scale: float = 20.0
    warmup_ratio: float = 0.1
    max_seq_length: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        counts = (self.epochs, self.positives, self.negatives, self.batch_size - 1, self.max_seq_length or 1)
        if min(counts) < 1 or not (self.learning_rate > 0 and self.scale > 0 and 0 <= self.warmup_ratio <= 1):
            raise UsageError(
                f"retriever training is set to {self}",
                expected="counts of 1 or more, a batch size of 2 or more, positive rates, a warm-up ratio from 0 to 1",
                remedy="Correct the setting.",
            )


def train_retriever(
    mined: Path,
    pool: Pool,
    *,
    base_encoder: str | Path,
    config: RetrieverTrainingConfig | None = None,
    out: Path,
    dev: Sequence[Example] = (),
    progress: Progress = SILENT,
) -> Path:
    """Trains a retriever on mined candidates.

    Metrics go onto the card: how often a mined positive has its query's label; how often a positive is ranked above a
    negative of its query; and, with dev examples, how often the vote of the nearest demonstrations' labels is right.
    The last two are measured before and after training, without a language model.

    Args:
        mined: The mined.jsonl, or its folder; unfinished mining will do.
        pool: The pool that was mined.
        base_encoder: Where training starts: a bundled name, a sentence-transformers folder or a hub id.
        config: The settings; the defaults when None.
        out: The retriever's folder; appears when all is written. A retriever that is there is replaced.
        dev: Labelled examples outside the pool.
        progress: Shows the training steps.

    Returns:
        The folder: `RetrieverSelector.load` and `SentenceTransformer` read it.

    Raises:
        DataFileError: When the mined file is missing, damaged, of another pool or holds nothing to learn from.
        ArtifactError: When something else stands in the folder.
        ModelLoadError: When the base encoder cannot be loaded.
        ShotsmithError: When training diverges.
        DiskFullError: When the disk is full; what was in the folder before is kept.
    """
    config = config or RetrieverTrainingConfig()
    _prepare(out)
    header, queries = _training_queries(mined, pool, config)
    model = _load(base_encoder, config.max_seq_length)
    metrics = {"mined_queries": float(len(queries)), "mined_positive_label_agreement": _agreement(queries, pool)}
    metrics |= _measured(_encoder(model, base_encoder), queries, pool, dev, suffix="before")
    with writing(out), tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
        made = Path(scratch) / "retriever"
        _fit(model, queries, pool, config=config, folder=Path(scratch), progress=progress)
        metrics |= _measured(_encoder(model, base_encoder), queries, pool, dev, suffix="after")
        card = RetrieverCard(
            base_encoder=str(base_encoder),
            pool_fingerprint=pool.fingerprint,
            template_fingerprint=header.template,
            lm_fingerprint=header.lm,
            metrics=metrics,
        )
        _write(model, card, config, made)
        (Path(scratch) / "tensorboard").rename(made / "tensorboard")
        if out.exists():
            shutil.rmtree(out)
        made.rename(out)
    return out


def label_vote_accuracy(encoder: TextEncoder, pool: Pool, queries: Sequence[Example], *, voters: int = VOTERS) -> float:
    """Measures how often the labels of the nearest demonstrations vote for the gold label.

    Args:
        encoder: Embeds queries, and demonstrations with their label.
        pool: The pool.
        queries: Labelled queries; at least one.
        voters: Demonstrations that vote; fewer in a small pool. A tie goes to the nearest one's label.

    Returns:
        The share between 0 and 1.
    """
    available = len(pool) - max(len(pool.duplicates_of(query)) for query in queries)
    selector = NearestSelector(pool, encoder, labelled_demonstrations=True)
    hits = 0
    for query, selection in zip(queries, selector.select(queries, min(voters, available)), strict=True):
        # Counter keeps the order of first votes, and the best demonstration stands last.
        votes = Counter(pool[position].label for position in reversed(selection.indices))
        hits += bool(votes) and votes.most_common(1)[0][0] == query.label
    return hits / len(queries)


def pair_accuracy(encoder: TextEncoder, pool: Pool, queries: Sequence[TrainingQuery]) -> float:
    """Measures how often a positive is nearer to its query than a negative.

    Args:
        encoder: Embeds queries, and demonstrations with their label.
        pool: What positions refer to.
        queries: The training queries; at least one.

    Returns:
        The mean over queries of the share of (positive, negative) pairs ranked rightly.
    """
    anchors = encoder.encode([input_text(query.query) for query in queries])  # (N, D)
    used = sorted({position for query in queries for position in (*query.positives, *query.negatives)})
    rows = dict(zip(used, encoder.encode([labelled_text(pool[position]) for position in used]), strict=True))
    shares = []
    for query, anchor in zip(queries, anchors, strict=True):
        good = np.stack([rows[position] for position in query.positives]) @ anchor
        bad = np.stack([rows[position] for position in query.negatives]) @ anchor
        shares.append(float((good[:, None] > bad[None, :]).mean()))
    return float(np.mean(shares))


def _training_queries(
    mined: Path, pool: Pool, config: RetrieverTrainingConfig
) -> tuple[MiningHeader, list[TrainingQuery]]:
    path = mined / MINED_FILE if mined.is_dir() else mined
    lines, _ = read_mined(path)
    header = read_header(path.parent)
    if header.pool != pool.fingerprint:
        raise DataFileError(
            f"{path} was mined on a pool with fingerprint {header.pool[:12]}",
            expected=f"the pool in use, {pool.fingerprint[:12]}",
            remedy="Use the task that was mined, or mine again.",
        )
    splits = (split_candidates(line, positives=config.positives, negatives=config.negatives) for line in lines)
    queries = [split for split in splits if split is not None]
    if not queries:
        raise DataFileError(
            f"{path} holds {len(lines)} queries and none with a better and a worse candidate",
            expected="at least one",
            remedy="Mine more queries, or more candidates for each.",
        )
    return header, queries


def _prepare(out: Path) -> None:
    if out.exists() and not (out / CARD_FILE).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise ArtifactError(
            f"{out} holds other files", expected="a retriever or nothing", remedy="Choose another --out."
        )
    with writing(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)


def _load(source: str | Path, longest: int | None) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer

    place = find_bundled(str(source)) if is_bundled(str(source)) else source
    try:
        with _without_bars():
            model = SentenceTransformer(str(place), model_kwargs={"use_safetensors": True})
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise ModelLoadError(
            f"base encoder {str(source)!r} cannot be loaded ({str(error).splitlines()[0]})",
            expected="a bundled name, a sentence-transformers folder or a hub id",
            remedy="Check the name, and the network for a hub id; bundled names work offline.",
        ) from error
    if longest is not None:
        model.max_seq_length = min(longest, model.max_seq_length or longest)
    return model


@contextmanager
def _without_bars() -> Iterator[None]:
    """Keeps the bars of transformers off the terminal: progress has one owner."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _encoder(model: SentenceTransformer, source: str | Path) -> SentenceEncoder:
    """A fresh view of the weights as they are now: an encoder remembers what it has embedded."""
    return SentenceEncoder(model, fingerprint=weights_fingerprint(model), source=str(source))


def _fit(
    model: SentenceTransformer,
    queries: Sequence[TrainingQuery],
    pool: Pool,
    *,
    config: RetrieverTrainingConfig,
    folder: Path,
    progress: Progress,
) -> None:
    from policies.fine_tuning import FineTuningConfig, fine_tune

    batches = plan_batches(queries, pool, epochs=config.epochs, batch_size=config.batch_size, seed=config.seed)
    texts = [
        [(input_text(row.query), labelled_text(pool[row.positive]), labelled_text(pool[row.negative])) for row in batch]
        for batch in batches
    ]
    settings = FineTuningConfig(config.learning_rate, config.warmup_ratio, config.scale, config.seed)
    with progress.track("Training the retriever", len(batches)) as advance:
        fine_tune(model, texts, config=settings, folder=folder, advance=advance)


def _agreement(queries: Sequence[TrainingQuery], pool: Pool) -> float:
    """How often a positive has its query's label."""
    agree = [pool[position].label == query.query.label for query in queries for position in query.positives]
    return float(np.mean(agree))


def _measured(
    encoder: TextEncoder, queries: Sequence[TrainingQuery], pool: Pool, dev: Sequence[Example], *, suffix: str
) -> dict[str, float]:
    metrics = {f"mined_pair_accuracy_{suffix}": pair_accuracy(encoder, pool, queries)}
    labelled = [example for example in dev if example.label is not None]
    if labelled:
        metrics[f"dev_label_vote_accuracy_{suffix}"] = label_vote_accuracy(encoder, pool, labelled)
    return metrics


def _write(model: SentenceTransformer, card: RetrieverCard, config: RetrieverTrainingConfig, folder: Path) -> None:
    from safetensors import SafetensorError

    try:
        with _without_bars():
            model.save(str(folder), create_model_card=False)
    except SafetensorError as error:
        # safetensors tells a full disk only in words; `writing` reads error numbers.
        if found := re.search(r"os error (\d+)", str(error)):
            raise OSError(int(found[1]), os.strerror(int(found[1])), str(folder)) from error
        raise
    write_retriever_card(folder, card)
    (folder / "README.md").write_text(_readme(card, asdict(config)), encoding="utf-8")


def _readme(card: RetrieverCard, config: Mapping[str, object]) -> str:
    """A model card for people; programs read shotsmith.json."""
    rows = [f"| {name} | {value:.4f} |" for name, value in sorted(card.metrics.items())]
    return "\n".join(
        [
            "---",
            "library_name: sentence-transformers",
            "pipeline_tag: sentence-similarity",
            "tags: [in-context-learning, demonstration-retrieval, epr]",
            "---",
            "# Demonstration retriever",
            "",
            "Ranks labelled examples by how much a language model gains from seeing them before a query (EPR; Rubin,",
            "Herzig & Berant, 2022). A query is embedded as its input fields, one per line; a demonstration as its",
            "input fields and its label. Compare by cosine similarity.",
            "",
            "    from selector.strategies.retriever import RetrieverSelector",
            "    selections = RetrieverSelector.load(FOLDER, pool).select(queries, 4)",
            "",
            f"- Base encoder: {card.base_encoder}",
            f"- Language model that scored: `{card.lm_fingerprint}`",
            f"- Pool: `{card.pool_fingerprint}`",
            f"- Prompt template: `{card.template_fingerprint}`",
            f"- Training: {', '.join(f'{name} {value}' for name, value in config.items())}",
            "",
            "| metric | value |",
            "|---|---|",
            *rows,
            "",
        ]
    )
