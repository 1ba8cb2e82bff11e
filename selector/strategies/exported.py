"""From the folder of an exported policy of any kind, or of a trained retriever, to its selector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from selector.data.pool import Pool
from selector.data.task import Task
from selector.errors import UsageError
from selector.inference.engine import InferenceEngine
from selector.learned.artifact import MANIFEST_FILE, read_manifest
from selector.learned.manifest import PER_QUERY
from selector.strategies.base import Selector
from selector.strategies.corpus import CorpusSelector
from selector.strategies.learned import LearnedSelector
from selector.strategies.retriever import CARD_FILE, RetrieverSelector
from selector.types import Example, Query

ExportedSelector = LearnedSelector | CorpusSelector
DEFAULT_SHOTS: Final = 4  # where nothing says how many


def load_policy(
    folder: Path | str,
    pool: Pool,
    *,
    force: bool = False,
    engine: Callable[[], InferenceEngine] | None = None,
    beams: int = 1,
    shortlist_size: int | None = None,
    task_queries: Sequence[Query] = (),
) -> ExportedSelector:
    """Loads an artifact of any kind.

    Args:
        folder: A folder written by `shotsmith export`.
        pool: The pool to choose from.
        force: Whether a pool, encoder, template or language model other than the artifact's is taken.
        engine: Gives the engine; called only where the policy reads the language model or counts tokens.
        beams: How many beginnings of a prompt a per-query policy follows; 1 is greedy.
        shortlist_size: How many nearest candidates a per-query policy offers each query; None takes as many as in
            training.
        task_queries: Queries, labelled or not, of the task, where a per-corpus policy was trained on another one.

    Returns:
        The selector.

    Raises:
        ArtifactError: When the artifact is missing, damaged or of another version.
        ArtifactMismatchError: When pool or encoder, or template or language model of an engine that the policy needs,
            differ from the artifact's and `force` is off.
        ModelLoadError: When its encoder cannot be loaded.
        UsageError: When the policy reads the language model or counts tokens, and there is no engine; or when beams or
            a shortlist are wanted of a per-corpus policy.
    """
    if read_manifest(Path(folder)).kind == PER_QUERY:
        return LearnedSelector.load(
            folder, pool, force=force, engine=engine, beams=beams, shortlist_size=shortlist_size
        )
    _refuse_search("a policy of one prompt for a task", beams, shortlist_size)
    return CorpusSelector.load(folder, pool, force=force, engine=engine, task_queries=task_queries)


def queries_of_another_task(folder: Path | str, task: Task) -> tuple[Example, ...]:
    """Gives the queries that stand for a task, where an artifact was made for another one or for another pool.

    Args:
        folder: The artifact; any other folder knows nothing of tasks.
        task: The task.

    Returns:
        Its reward queries, or dev queries where there are none; empty where the artifact was made for it, or is none.

    Raises:
        ArtifactError: When the artifact is damaged.
    """
    if not (Path(folder) / MANIFEST_FILE).is_file():
        return ()
    trained = read_manifest(Path(folder)).fingerprints
    own = {"pool": task.pool.fingerprint, "template": task.template.fingerprint}
    return (task.reward or task.dev) if any(trained.get(part) != present for part, present in own.items()) else ()


def load_learned(
    folder: Path | str,
    pool: Pool,
    *,
    force: bool = False,
    engine: Callable[[], InferenceEngine] | None = None,
    beams: int = 1,
    shortlist_size: int | None = None,
    task_queries: Sequence[Query] = (),
) -> Selector:
    """Loads an exported policy or a trained retriever.

    Args:
        folder: A folder written by `shotsmith export` or `shotsmith train-retriever`.
        pool: The pool to choose from.
        force: Whether a pool, encoder, template or language model other than a policy's is taken; a retriever takes any
            pool.
        engine: Gives the engine; called only where a policy reads the language model or counts tokens.
        beams: How many beginnings of a prompt a per-query policy follows; 1 is greedy.
        shortlist_size: How many nearest candidates a per-query policy offers each query; None takes as many as in
            training.
        task_queries: Queries, labelled or not, of the task, where a per-corpus policy was trained on another one.

    Returns:
        The selector.

    Raises:
        ArtifactError: When the folder is missing, damaged or of another version.
        ArtifactMismatchError: When pool or encoder, or template or language model of an engine that the policy needs,
            differ from the policy's and `force` is off.
        ModelLoadError: When its encoder cannot be loaded.
        UsageError: When a policy reads the language model or counts tokens, and there is no engine; or when beams or a
            shortlist are wanted of a per-corpus policy or a retriever.
    """
    if (Path(folder) / CARD_FILE).is_file():
        _refuse_search("a retriever", beams, shortlist_size)
        return RetrieverSelector.load(folder, pool)
    return load_policy(
        folder,
        pool,
        force=force,
        engine=engine,
        beams=beams,
        shortlist_size=shortlist_size,
        task_queries=task_queries,
    )


def _refuse_search(what: str, beams: int, shortlist_size: int | None) -> None:
    if beams != 1 or shortlist_size is not None:
        raise UsageError(
            f"beams or a shortlist size were given for {what}",
            expected="a per-query policy, which alone searches a shortlist",
            remedy="Leave them out (--beams, --shortlist).",
        )
