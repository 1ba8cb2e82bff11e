"""A trained retriever as a folder that any sentence-transformers user can load, with cards for people and programs."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from selector.data.assets import find_bundled, is_bundled
from selector.errors import ModelLoadError
from selector.progress import hidden_library_bars
from selector.retrieval.encoder import has_two_encoders
from selector.strategies.retriever import RetrieverCard, write_retriever_card

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def load_base(source: str | Path, *, longest: int | None, encoders: int) -> SentenceTransformer:
    """Loads the encoder that training starts from.

    Args:
        source: A bundled name, a sentence-transformers folder or a hub id.
        longest: Longest text, tokens; None leaves it to the encoder.
        encoders: 1 for one that embeds queries and demonstrations alike; 2 for a copy of its own for each.

    Returns:
        The model.

    Raises:
        ModelLoadError: When it cannot be loaded.
    """
    from sentence_transformers import SentenceTransformer

    place = find_bundled(str(source)) if is_bundled(str(source)) else source
    try:
        with hidden_library_bars():
            loaded = [SentenceTransformer(str(place), model_kwargs={"use_safetensors": True}) for _ in range(encoders)]
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise ModelLoadError(
            f"base encoder {str(source)!r} cannot be loaded ({str(error).splitlines()[0]})",
            expected="a bundled name, a sentence-transformers folder or a hub id",
            remedy="Check the name, and the network for a hub id; bundled names work offline.",
        ) from error
    if longest is not None:
        for model in loaded:
            model.max_seq_length = min(longest, model.max_seq_length or longest)
    if encoders == 1 or has_two_encoders(loaded[0]):
        return loaded[0]
    from sentence_transformers.sentence_transformer.modules import Router

    queries, demonstrations = (list(model) for model in loaded)
    return SentenceTransformer(modules=[Router.for_query_document(queries, demonstrations)])


def write_retriever(
    model: SentenceTransformer, card: RetrieverCard, *, config: Mapping[str, object], folder: Path
) -> None:
    """Writes model and cards.

    Args:
        model: The trained model.
        card: For programs; shotsmith.json.
        config: How it was trained; for people.
        folder: Where.

    Raises:
        OSError: When it cannot be written.
    """
    from safetensors import SafetensorError

    try:
        with hidden_library_bars():
            model.save(str(folder), create_model_card=False)
    except SafetensorError as error:
        # safetensors tells a full disk only in words; who names it reads error numbers.
        if found := re.search(r"os error (\d+)", str(error)):
            raise OSError(int(found[1]), os.strerror(int(found[1])), str(folder)) from error
        raise
    write_retriever_card(folder, card)
    (folder / "README.md").write_text(_readme(card, config), encoding="utf-8")


def _readme(card: RetrieverCard, config: Mapping[str, object]) -> str:
    rows = [f"| {name} | {value:.4f} |" for name, value in sorted(card.metrics.items())]
    mining = "unknown" if card.training_lm_tokens is None else f"{card.training_lm_tokens:,}"
    label = " and its label" if card.demonstration_form == "labelled" else ""
    return "\n".join(
        [
            "---",
            "library_name: sentence-transformers",
            "pipeline_tag: sentence-similarity",
            "tags: [in-context-learning, demonstration-retrieval, epr]",
            "---",
            f"# Demonstration retriever{f' for {card.task}' if card.task else ''}",
            "",
            "Ranks labelled examples by how much a language model gains from seeing them before a query (EPR; Rubin,",
            "Herzig & Berant, 2022). A query is embedded as its input fields, one per line; a demonstration as its",
            f"input fields{label}. Compare by cosine similarity.",
            "",
            "    from selector.strategies.retriever import RetrieverSelector",
            "    selections = RetrieverSelector.load(FOLDER, pool).select(queries, 4)",
            "",
            "With sentence-transformers alone: `encode_query` for queries, `encode_document` for demonstrations.",
            "",
            f"- Base encoder: {card.base_encoder}",
            f"- Language model that scored: {card.lm} `{card.lm_fingerprint}`",
            f"- Tokens that mining asked of it: {mining}",
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
