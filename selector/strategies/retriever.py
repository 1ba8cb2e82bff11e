"""The EPR retriever at inference: nearest demonstrations under an encoder trained for it (Rubin et al., 2022).

A retriever is a sentence-transformers folder with a card beside it, shotsmith.json. Training is `policies.epr`'s work.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from selector.data.folder_kinds import missing_file
from selector.data.pool import Pool
from selector.errors import ArtifactError
from selector.retrieval.encoder import SentenceEncoder
from selector.retrieval.text_index import TextIndex
from selector.strategies.dense import NearestSelector

INDEX_FOLDER = "index"
CARD_FILE = "shotsmith.json"
CARD_VERSION = 2
LATER_KEYS: Final[Mapping[str, Any]] = MappingProxyType({"training_lm_tokens": None, "hidden_duplicates": None})
"""What the first cards of version 2 do not say."""


@dataclass(frozen=True)
class RetrieverCard:
    """What a trained retriever was made of.

    Attributes:
        base_encoder: The encoder that training started from.
        pool_fingerprint: Of the pool whose examples were mined.
        template_fingerprint: Of the prompt template that scored them.
        lm_fingerprint: Of the language model that scored them.
        metrics: What was measured in training, by name; higher is better.
        query_form: The text form of queries: "input".
        demonstration_form: The text form of demonstrations: "labelled" or "input".
        task: The name of the task; may be empty.
        lm: The name of the language model; may be empty.
        version: Of this card.
        training_lm_tokens: Tokens that mining asked of the language model, without sharing or cache; None where nobody
            counted them.
        hidden_duplicates: How many members of the pool were kept, in mining and training, from mined queries that they
            repeat, leaving aside what a member is to itself; None where nobody counted them.
    """

    base_encoder: str
    pool_fingerprint: str
    template_fingerprint: str
    lm_fingerprint: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    query_form: str = "input"
    demonstration_form: str = "labelled"
    task: str = ""
    lm: str = ""
    version: int = CARD_VERSION
    training_lm_tokens: int | None = None
    hidden_duplicates: int | None = None


def write_retriever_card(folder: Path, card: RetrieverCard) -> None:
    """Writes the card beside the encoder.

    Args:
        folder: The sentence-transformers folder.
        card: The card.
    """
    content = {"kind": "retriever", **asdict(card)}
    (folder / CARD_FILE).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_retriever_card(folder: Path) -> RetrieverCard:
    """Reads and checks the card of a retriever.

    Args:
        folder: The retriever's folder.

    Returns:
        The card.

    Raises:
        ArtifactError: When it is missing, damaged or of another version.
    """
    path = folder / CARD_FILE
    if not path.is_file():
        raise missing_file(folder, f"retriever card {CARD_FILE}", writer="shotsmith train-retriever")
    try:
        content = {**LATER_KEYS} | json.loads(path.read_text(encoding="utf-8"))
        card = RetrieverCard(**{entry.name: content[entry.name] for entry in fields(RetrieverCard)})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"retriever card {path} is damaged ({type(error).__name__})",
            expected="a folder written by train-retriever",
            remedy="Check the path or train the retriever again.",
        ) from error
    if card.version != CARD_VERSION:
        raise ArtifactError(
            f"retriever card {path} has version {card.version}",
            expected=f"version {CARD_VERSION}",
            remedy="Use the version of shotsmith that wrote it, or train the retriever again.",
        )
    return card


class RetrieverSelector(NearestSelector):
    """Takes the demonstrations that a trained retriever ranks highest, the best one last.

    The pool may differ from the one it was trained on: its examples are embedded when they are first needed.
    """

    @classmethod
    def load(cls, folder: Path | str, pool: Pool, *, use_index: bool = True) -> RetrieverSelector:
        """Loads a retriever, and its index where `save_index` has written one.

        Args:
            folder: A folder written by `policies.epr.train_retriever`.
            pool: The pool to choose from; the index follows it without embedding again what it holds.
            use_index: Whether to read an index that is there; else the pool is embedded when it is first needed.

        Returns:
            The selector; its `encoder` is the trained one.

        Raises:
            ArtifactError: When the card or the index is missing or damaged.
            ArtifactMismatchError: When the index was made with other weights.
            ModelLoadError: When the encoder cannot be loaded.
        """
        folder = Path(folder)
        labelled = read_retriever_card(folder).demonstration_form == "labelled"
        encoder = SentenceEncoder.load(folder)
        loaded = cls(pool, encoder, labelled_demonstrations=labelled)
        if use_index and (folder / INDEX_FOLDER).is_dir():
            loaded._given_index = TextIndex.load(folder / INDEX_FOLDER, encoder, loaded.texts)
        return loaded

    def save_index(self, folder: Path | str) -> None:
        """Writes the index of the pool into a retriever's folder, so that the next load embeds nothing.

        Args:
            folder: The retriever's folder.
        """
        self.index.save(Path(folder) / INDEX_FOLDER)
