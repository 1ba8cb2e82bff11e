"""Trains the EPR retriever: an encoder that ranks demonstrations as the language model would (Rubin et al., 2022).

As published, each row has a random positive from the top of the mined list, random hard negatives from its bottom, and
in-batch negatives. Beyond that stand options of its successors: distillation of the language model's scores (LLM-R),
labels as scores where the language model has given none, one encoder or two. No language model is needed here.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from safetensors import SafetensorError

from policies.contrastive import Row, plan_batches
from policies.mined import MinedQuery, MiningHeader
from policies.mined_storage import writing
from policies.retriever_config import RetrieverTrainingConfig
from policies.retriever_folder import load_base, write_retriever
from policies.retriever_material import TrainingMaterial, gather, read_lines
from policies.training_usage import read_usage
from selector.data.folder_kinds import require_replaceable
from selector.data.pool import Pool
from selector.errors import ShotsmithError
from selector.evaluation.cells import examples_fingerprint
from selector.progress import SILENT, Progress
from selector.prompting.embedding_text import input_text, labelled_text
from selector.retrieval.encoder import weights_fingerprint
from selector.strategies.retriever import CARD_FILE, RetrieverCard
from selector.types import Example

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_PARTS: Final = frozenset(
    f"{CARD_FILE} README.md evaluations.json tensorboard index modules.json config.json router_config.json "
    "config_sentence_transformers.json sentence_bert_config.json model.safetensors tokenizer.json "
    "tokenizer_config.json special_tokens_map.json added_tokens.json vocab.txt vocab.json merges.txt spiece.model "
    "sentencepiece.bpe.model chat_template.jinja bpe.codes additional_chat_templates "
    "model.safetensors.index.json".split()
)
# A module's own folder; a part of large weights.
_MODULE: Final = re.compile(r"(?:query_|document_)?\d+_\w+|model-\d+-of-\d+\.safetensors")


def train_retriever(
    mined: Path | Sequence[Path],
    pool: Pool,
    *,
    base_encoder: str | Path,
    config: RetrieverTrainingConfig | None = None,
    out: Path,
    dev: Sequence[Example] = (),
    labels: Sequence[str] | None = None,
    names: tuple[str, str] = ("", ""),
    progress: Progress = SILENT,
) -> Path:
    """Trains a retriever on mined candidates.

    Before training and at points of it dev judges: how many of the demonstrations retrieved for its queries bear the
    right label (for free text: how a tenth of the mined queries is ranked). The best weights are kept, maybe those
    before. The card has metrics of both: that share, the vote of those labels, and how mined pairs are ranked.

    Args:
        mined: A folder of `mine`, a file of it, or several of them, as iterated mining makes; unfinished ones will do.
            None at all trains on labels alone.
        pool: The pool that was mined.
        base_encoder: Where training starts: a bundled name, a sentence-transformers folder or a hub id.
        config: The settings; the defaults when None.
        out: The retriever's folder; appears when all is written. A retriever that is there is replaced. An interrupted
            training goes on from its last checkpoint when it is called again with the same arguments.
        dev: Labelled examples outside the pool.
        labels: The closed set of labels; empty where targets are free text. By default the labels of the pool.
        names: Task and language model, for the card.
        progress: Shows the training steps.

    Returns:
        The folder: `RetrieverSelector.load` and `SentenceTransformer` read it.

    Raises:
        DataFileError: When a mined file is missing, damaged, of another pool or holds nothing to learn from.
        ArtifactError: When something else stands in the folder.
        ModelLoadError: When the base encoder cannot be loaded.
        ShotsmithError: When training diverges.
        DiskFullError: When the disk is full; what was in the folder before is kept.
    """
    config = config or RetrieverTrainingConfig()
    closed = pool.labels if labels is None else tuple(labels)
    _prepare(out)
    _, lines = found = read_lines(_places(mined), pool)
    model = load_base(base_encoder, longest=config.max_seq_length, encoders=config.encoders)
    material = gather(lines, model, pool, dev=dev, labels=closed, config=config)
    scratch = _scratch(out, pool, lines, dev=dev, closed=closed, weights=weights_fingerprint(model), config=config)
    metrics = material.counted() | material.measured(model, pool, config, suffix="before")
    with writing(out):
        try:
            _fit(model, material, pool, closed, config=config, folder=scratch, progress=progress)
            metrics |= material.measured(model, pool, config, suffix="after")
            card = _card(str(base_encoder), pool, found, mined=mined, metrics=metrics, config=config, names=names)
            _replace(out, model, card, config=config, scratch=scratch)
        except (ShotsmithError, OSError, SafetensorError):
            shutil.rmtree(scratch, ignore_errors=True)  # a full disk needs the room; diverged weights help nobody
            raise
    shutil.rmtree(scratch)
    return out


def _card(
    base_encoder: str,
    pool: Pool,
    found: tuple[MiningHeader | None, Sequence[MinedQuery]],
    *,
    mined: Path | Sequence[Path],
    metrics: dict[str, float],
    config: RetrieverTrainingConfig,
    names: tuple[str, str],
) -> RetrieverCard:
    header, lines = found
    return RetrieverCard(
        base_encoder=base_encoder,
        pool_fingerprint=pool.fingerprint,
        template_fingerprint=header.template if header else "",
        lm_fingerprint=header.lm if header else "",
        metrics=metrics,
        demonstration_form="labelled" if config.labelled_demonstrations else "input",
        task=names[0],
        lm=names[1] if header else "",
        training_lm_tokens=_mining_tokens(_places(mined)),
        hidden_duplicates=_hidden_duplicates(lines, pool),
    )


def _places(mined: Path | Sequence[Path]) -> list[Path]:
    return [mined] if isinstance(mined, Path) else list(mined)


def _hidden_duplicates(lines: Sequence[MinedQuery], pool: Pool) -> int:
    members = {example.uid for example in pool}
    return sum(len(pool.duplicates_of(line.query)) - (line.query.uid in members) for line in lines)


def _mining_tokens(places: Sequence[Path]) -> int | None:
    """What the mining of all folders asked of the language model; None where one of them does not say."""
    usages = [read_usage(folder) for folder in {place if place.is_dir() else place.parent for place in places}]
    known = [usage.tokens for usage in usages if usage is not None]
    return sum(known) if len(known) == len(usages) else None


def _replace(
    out: Path, model: SentenceTransformer, card: RetrieverCard, *, config: RetrieverTrainingConfig, scratch: Path
) -> None:
    """Writes the retriever beside its place, then puts it there."""
    from policies.evaluation_points import HISTORY_FILE

    made = scratch / "retriever"
    shutil.rmtree(made, ignore_errors=True)
    write_retriever(model, card, config=asdict(config), folder=made)
    shutil.copytree(scratch / "tensorboard", made / "tensorboard", dirs_exist_ok=True)
    if (scratch / HISTORY_FILE).is_file():
        shutil.copy(scratch / HISTORY_FILE, made)
    if out.exists():
        shutil.rmtree(out)
    made.rename(out)


def _prepare(out: Path) -> None:
    require_replaceable(out, what="a retriever", marker=CARD_FILE, is_part=_is_part)
    with writing(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)


def _is_part(name: str) -> bool:
    """Whether a file or folder of that name may belong to a retriever: one of sentence-transformers, with cards."""
    return name in _PARTS or _MODULE.fullmatch(name) is not None or name.startswith(".")


def _scratch(
    out: Path,
    pool: Pool,
    lines: Sequence[MinedQuery],
    *,
    dev: Sequence[Example],
    closed: Sequence[str],
    weights: str,
    config: RetrieverTrainingConfig,
) -> Path:
    """The folder of the training: the one that an interrupted call with the same arguments has left, or a new one."""
    content = hashlib.sha256("".join(line.line() for line in lines).encode()).hexdigest()
    settings = json.dumps(
        {
            "pool": pool.fingerprint,
            "near_duplicates": pool.near_duplicates,
            "labels": list(closed),
            "lines": content,
            "dev": examples_fingerprint(dev),
            "base": weights,
            "config": asdict(config),
        }
    )
    folder = out.parent / f".{out.name}-training"
    with writing(folder):
        marker = folder / "settings.json"
        if not marker.is_file() or marker.read_text(encoding="utf-8") != settings:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            marker.write_text(settings, encoding="utf-8")
    return folder


def _fit(
    model: SentenceTransformer,
    material: TrainingMaterial,
    pool: Pool,
    closed: Sequence[str],
    *,
    config: RetrieverTrainingConfig,
    folder: Path,
    progress: Progress,
) -> None:
    from policies.fine_tuning import FineTuningConfig, TextRow, fine_tune
    from policies.retriever_loss import NO_CLASS, LossConfig

    form = labelled_text if config.labelled_demonstrations else input_text
    classes: dict[Any, int] = {label: number for number, label in enumerate(closed)}
    queries = [*material.scored, *material.unscored]
    planned = plan_batches(
        queries,
        pool,
        epochs=config.epochs_for(len(queries)),
        batch_size=config.batch_size,
        negatives=config.hard_negatives,
        seed=config.seed,
    )

    def text_row(row: Row) -> TextRow:
        texts = [form(pool[position]) for position in row.candidates]
        of = [classes.get(example.label, NO_CLASS) for example in (row.query, *(pool[at] for at in row.candidates))]
        return TextRow((input_text(row.query), *texts), (*map(float, of), *row.scores))

    epochs = [[[text_row(row) for row in batch] for batch in epoch] for epoch in planned]
    with progress.track("Training the retriever", sum(map(len, epochs))) as advance:
        fine_tune(
            model,
            epochs,
            loss=LossConfig(config.scale, config.distillation, config.contrastive, config.teacher_temperature),
            config=FineTuningConfig(
                config.learning_rate, config.warmup_ratio, config.evaluations, config.patience, config.seed
            ),
            folder=folder,
            evaluate=material.evaluator(model, pool, config),
            advance=advance,
        )
