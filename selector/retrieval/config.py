"""Which encoder. Plain values: loading is `selector.retrieval.encoder`'s work."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EncoderConfig:
    """Names a sentence encoder.

    Attributes:
        model: A bundled name, a local sentence-transformers folder or a Hugging Face hub id.
    """

    model: str = "all-minilm-l6-v2"
