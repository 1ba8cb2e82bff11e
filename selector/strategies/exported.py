"""From the folder of an exported policy of any kind, or of a trained retriever, to its selector."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from selector.data.pool import Pool
from selector.inference.engine import InferenceEngine
from selector.learned.artifact import PER_QUERY, read_manifest
from selector.strategies.base import Selector
from selector.strategies.corpus import CorpusSelector
from selector.strategies.learned import LearnedSelector
from selector.strategies.retriever import CARD_FILE, RetrieverSelector

ExportedSelector = LearnedSelector | CorpusSelector


def load_policy(
    folder: Path | str, pool: Pool, *, force: bool = False, engine: Callable[[], InferenceEngine] | None = None
) -> ExportedSelector:
    """Loads an artifact of any kind.

    Args:
        folder: A folder written by `shotsmith export`.
        pool: The pool to choose from.
        force: Whether a pool, encoder, template or language model other than the artifact's is taken.
        engine: Gives the engine; called only where the policy reads the language model or counts tokens.

    Returns:
        The selector.

    Raises:
        ArtifactError: When the artifact is missing, damaged or of another version.
        ArtifactMismatchError: When pool or encoder, or template or language model of an engine that the policy needs,
            differ from the artifact's and `force` is off.
        ModelLoadError: When its encoder cannot be loaded.
        UsageError: When the policy reads the language model or counts tokens, and there is no engine.
    """
    if read_manifest(Path(folder)).kind == PER_QUERY:
        return LearnedSelector.load(folder, pool, force=force, engine=engine)
    return CorpusSelector.load(folder, pool, force=force, engine=engine)


def load_learned(
    folder: Path | str, pool: Pool, *, force: bool = False, engine: Callable[[], InferenceEngine] | None = None
) -> Selector:
    """Loads an exported policy or a trained retriever.

    Args:
        folder: A folder written by `shotsmith export` or `shotsmith train-retriever`.
        pool: The pool to choose from.
        force: Whether a pool, encoder, template or language model other than a policy's is taken; a retriever takes any
            pool.
        engine: Gives the engine; called only where a policy reads the language model or counts tokens.

    Returns:
        The selector.

    Raises:
        ArtifactError: When the folder is missing, damaged or of another version.
        ArtifactMismatchError: When pool or encoder, or template or language model of an engine that the policy needs,
            differ from the policy's and `force` is off.
        ModelLoadError: When its encoder cannot be loaded.
        UsageError: When a policy reads the language model or counts tokens, and there is no engine.
    """
    if (Path(folder) / CARD_FILE).is_file():
        return RetrieverSelector.load(folder, pool)
    return load_policy(folder, pool, force=force, engine=engine)
