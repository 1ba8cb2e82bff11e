"""Text to unit-norm float32 rows. Knows sentence-transformers; knows nothing of examples, labels or indexes."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError

from selector.data.assets import find_bundled, is_bundled
from selector.errors import ModelLoadError, UnknownNameError, UsageError
from selector.progress import hidden_library_bars


@runtime_checkable
class TextEncoder(Protocol):
    """What retrieval needs of an encoder.

    Attributes:
        fingerprint: Identifies the weights; equal fingerprints give equal embeddings.
        width: D, the length of an embedding.
    """

    @property
    def fingerprint(self) -> str:
        """Identifies the weights."""
        ...

    @property
    def width(self) -> int:
        """D, the length of an embedding."""
        ...

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Embeds texts.

        Args:
            texts: N texts.

        Returns:
            (N, D) float32, every row of unit norm; the dot product is the cosine similarity.
        """
        ...


@runtime_checkable
class TokenEncoder(Protocol):
    """What comparing texts token by token needs of an encoder."""

    def token_embeddings(self, texts: Sequence[str]) -> list[npt.NDArray[np.float32]]:
        """Embeds the tokens of texts, each in its context.

        Args:
            texts: N texts.

        Returns:
            N arrays (T_i, D) float32, every row of unit norm and at least one of them.
        """
        ...


class _Embeddings(dict[str, npt.NDArray[np.float32]]):
    """Text to its embedding, by one encoder."""


TORCH, BFLOAT16, ONNX, ONNX_INT8 = "torch", "bfloat16", "onnx", "onnx-int8"
ENCODINGS: Final = (TORCH, BFLOAT16, ONNX, ONNX_INT8)
"""How an encoder may compute: torch in float32 or bfloat16, ONNX Runtime in float32 or with 8-bit integers."""
FEW_TEXTS: Final = 32
SMALL_BATCH: Final = 8  # of few texts: sorted by length, parts of them are padded less than all together

# Encoders that embed alike share what they have encoded, as long as one of them is in use.
_SHARED: WeakValueDictionary[str, _Embeddings] = WeakValueDictionary()


class SentenceEncoder:
    """A sentence-transformers model; remembers what it has encoded.

    Args:
        model: A sentence-transformers model in evaluation mode.
        fingerprint: Identifies its weights.
        source: Where it was loaded from: a bundled name, a folder or a hub id.
        role: "document" or "query": which of its two encoders a model with two uses; others pay no heed.
        encoding: One of `ENCODINGS`: how the model computes.
    """

    def __init__(
        self, model: Any, *, fingerprint: str, source: str, role: str = "document", encoding: str = TORCH
    ) -> None:
        self._model = model.eval()
        self.encoding = encoding
        self._weights = fingerprint
        self._role = role if has_two_encoders(model) else None
        # The same weights embed a long text otherwise when they read less of it, or behind another prompt.
        settings = [getattr(model, name, None) for name in ("max_seq_length", "prompts", "default_prompt_name")]
        self._known = _SHARED.setdefault(f"{self.fingerprint}:{self._role or ''}:{settings}", _Embeddings())
        self.source = source

    def for_queries(self) -> SentenceEncoder:
        """Gives the encoder of queries.

        Returns:
            This one, unless the model has two.
        """
        if self._role is None:
            return self
        return SentenceEncoder(
            self._model, fingerprint=self._weights, source=self.source, role="query", encoding=self.encoding
        )

    def computing(self, encoding: str) -> SentenceEncoder:
        """Gives a copy that computes in another way, for queries that cannot wait.

        Embeddings of "onnx" differ by rounding alone; those of "bfloat16" have a cosine above 0.999 with the exact
        ones, those of "onnx-int8" one of about 0.99.

        Args:
            encoding: One of `ENCODINGS`. "bfloat16" is fast on processors that multiply it; those of ONNX Runtime need
                the extra `onnx`, run on the CPU and take some seconds to make.

        Returns:
            An encoder of its own fingerprint; this one where it computes so.

        Raises:
            UnknownNameError: When there is no such way.
            UsageError: When this one is a copy that computes in another way already.
            ExtraMissingError: When the extra is not installed.
            ModelLoadError: When ONNX Runtime cannot run this model.
        """
        import torch

        if encoding not in ENCODINGS:
            raise UnknownNameError("query encoder", encoding, known=ENCODINGS)
        if encoding == self.encoding:
            return self
        if self.encoding != TORCH:
            raise UsageError(
                f"an encoder that computes by {self.encoding} was to compute by {encoding}",
                expected="one that computes by torch",
                remedy="Load it again.",
            )
        if encoding == BFLOAT16:
            model = copy.deepcopy(self._model).to(torch.bfloat16)
        else:
            from selector.retrieval.onnx_transformer import run_by_onnx

            model = run_by_onnx(self._model, int8=encoding == ONNX_INT8, source=self.source)
        role = self._role or "document"
        return SentenceEncoder(model, fingerprint=self._weights, source=self.source, role=role, encoding=encoding)

    @classmethod
    def load(cls, source: Path | str) -> SentenceEncoder:
        """Loads an encoder.

        Args:
            source: A bundled name, a local sentence-transformers folder or a Hugging Face hub id.

        Returns:
            The encoder, on a CUDA device where there is one.

        Raises:
            ModelLoadError: When it is missing, damaged or out of reach.
            BundledPackageMissingError: When a bundled encoder's package is not installed.
        """
        import torch
        from sentence_transformers import SentenceTransformer

        place = str(find_bundled(str(source)) if is_bundled(str(source)) else source)
        settings = {"use_safetensors": True, "dtype": torch.float32}  # else that of the files
        try:
            with hidden_library_bars():
                model = SentenceTransformer(place, trust_remote_code=False, model_kwargs=settings)
        except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, SafetensorError) as error:
            raise ModelLoadError(
                f"encoder {str(source)!r} cannot be loaded ({str(error).splitlines()[0]})",
                expected="a bundled name, a sentence-transformers folder or a hub id",
                remedy="Check the name, and the network for a hub id; bundled names work offline.",
            ) from error
        return cls(model, fingerprint=weights_fingerprint(model), source=str(source))

    @property
    def role(self) -> str:
        """Which of its model's encoders this is, "document" or "query"; empty where there is one for both."""
        return self._role or ""

    @property
    def fingerprint(self) -> str:
        """The sha256 of the weights, and how they are computed with where that is not torch in float32."""
        return self._weights if self.encoding == TORCH else f"{self._weights}:{self.encoding}"

    @property
    def width(self) -> int:
        """D, the length of an embedding."""
        return int(self._model.get_embedding_dimension())

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Embeds texts, each distinct one once; see `TextEncoder.encode`."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            task: dict[str, Any] = {} if self._role is None else {"task": self._role}
            # ONNX Runtime takes texts one by one, and none waits for a part of them.
            alone = self.encoding in (ONNX, ONNX_INT8)
            task |= {"batch_size": SMALL_BATCH} if len(new) <= FEW_TEXTS and not alone else {}
            found = self._model.encode(
                new, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False, **task
            )
            rows = np.asarray(found, dtype=np.float32)
            if self.encoding == BFLOAT16:  # norms are a hundredth off
                rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
            self._known.update(zip(new, rows, strict=True))
        if not texts:
            return np.zeros((0, self.width), dtype=np.float32)
        return np.stack([self._known[text] for text in texts])

    def forget_all_but(self, texts: Collection[str]) -> None:
        """Frees the memory of embeddings that a long-lived process will not need again.

        Args:
            texts: Those that are remembered on, by every encoder of these weights.
        """
        kept = frozenset(texts)
        for text in [text for text in self._known if text not in kept]:
            del self._known[text]

    def token_embeddings(self, texts: Sequence[str]) -> list[npt.NDArray[np.float32]]:
        """Embeds the tokens of texts; see `TokenEncoder.token_embeddings`.

        Tokens that the tokeniser adds are left out, unless there are no others.

        Args:
            texts: N texts.

        Returns:
            N arrays (T_i, D) float32 of unit norm.

        Raises:
            ModelLoadError: When the model makes no embeddings of tokens.
        """
        if not texts:
            return []
        task = {} if self._role is None else {"task": self._role}
        described = self._model.encode(list(texts), output_value=None, show_progress_bar=False, **task)
        if "token_embeddings" not in described[0] or "input_ids" not in described[0]:
            raise ModelLoadError(
                f"encoder {self.source!r} makes no embeddings of tokens",
                expected="a transformer with pooling",
                remedy="Choose another encoder, or a method that compares whole texts.",
            )
        tokenizer = self._model.tokenizer
        added = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
        return [_unit_token_rows(one, added) for one in described]

    def save(self, folder: Path) -> None:
        """Writes the encoder as a sentence-transformers folder.

        Args:
            folder: Where; made when missing.
        """
        self._model.save(str(folder), create_model_card=False)


def _unit_token_rows(described: Mapping[str, Any], added: set[int]) -> npt.NDArray[np.float32]:
    """(T, D) unit-norm rows of the tokens of one text, without padding and without those added."""
    ids, mask = described["input_ids"].tolist(), described["attention_mask"].tolist()
    present = [at for at, attended in enumerate(mask) if attended]
    own = [at for at in present if ids[at] not in added] or present
    rows = described["token_embeddings"][own].float().cpu().numpy()
    unit: npt.NDArray[np.float32] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return unit


def query_encoder_of(encoder: TextEncoder) -> TextEncoder:
    """Gives what embeds the queries that are compared with an encoder's demonstrations.

    Args:
        encoder: Embeds demonstrations.

    Returns:
        The same one, unless its model has another for queries.
    """
    return encoder.for_queries() if isinstance(encoder, SentenceEncoder) else encoder


def has_two_encoders(model: Any) -> bool:
    """Tells whether queries and demonstrations are embedded by different weights.

    Args:
        model: A sentence-transformers model.

    Returns:
        True where it routes them.
    """
    return type(model[0]).__name__ == "Router"


def weights_fingerprint(model: Any) -> str:
    """Identifies the weights of a torch module by name, shape and content.

    Args:
        model: A torch module.

    Returns:
        A sha256, hexadecimal; the same before and after saving as safetensors.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        array = tensor.detach().cpu().contiguous().numpy()
        digest.update(f"{name}:{array.dtype}:{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
