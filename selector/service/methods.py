"""What a service serves, and how its selectors embed queries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from selector.data.pool import Pool
from selector.data.task import Task
from selector.errors import UnknownNameError
from selector.inference.engine import InferenceEngine
from selector.learned.artifact import MANIFEST_FILE, read_manifest
from selector.retrieval.encoder import ENCODINGS, TORCH, SentenceEncoder, TextEncoder
from selector.strategies.base import Selector
from selector.strategies.dense import NearestSelector
from selector.strategies.exported import DEFAULT_SHOTS, load_learned, queries_of_another_task
from selector.strategies.learned import LearnedSelector
from selector.strategies.named import METHODS, UPPER_BOUNDS
from selector.strategies.retriever import CARD_FILE
from selector.types import Example, Query

POLICY, RETRIEVER = "policy", "retriever"


@dataclass(frozen=True)
class ServedMethod:
    """The method that a service answers by when it is not told another one.

    Attributes:
        name: What clients call it; it tells nothing of where a folder lies.
        folder: Of the artifact; None for a method by name.
        shots: How many demonstrations it chooses where a client does not say: as many as a policy was trained for.
    """

    name: str
    folder: Path | None = None
    shots: int = DEFAULT_SHOTS

    def task_queries(self, task: Task) -> tuple[Example, ...]:
        """Gives what stands for a task, where a policy was made for another one.

        Args:
            task: The task.

        Returns:
            Its queries; none for a retriever or a method, or where the policy was made for it.
        """
        return () if self.folder is None else queries_of_another_task(self.folder, task)

    def load(
        self, pool: Pool, *, engine: Callable[[], InferenceEngine], force: bool, task_queries: Sequence[Query] = ()
    ) -> Selector:
        """Loads the artifact.

        Args:
            pool: What is chosen from.
            engine: Gives the engine; called where a policy needs it.
            force: Whether a policy made for another pool or encoder is taken.
            task_queries: Stand for the task, where a policy was made for another one.

        Returns:
            The selector.

        Raises:
            ArtifactError: When it is damaged.
            ArtifactMismatchError: When it was made for something else and `force` is off.
        """
        return load_learned(self.folder or "", pool, force=force, engine=engine, task_queries=task_queries)


class QuickQueries:
    """Lets selectors embed queries in a quicker way, the pool as ever; of encoders that embed alike one copy is made.

    Args:
        encoding: One of `selector.retrieval.encoder.ENCODINGS`; "torch" leaves selectors as they are.

    Attributes:
        encoders: The copies, by fingerprint and role of what they are copies of.

    Raises:
        UnknownNameError: When there is no such way.
    """

    def __init__(self, encoding: str = TORCH) -> None:
        if encoding not in ENCODINGS:
            raise UnknownNameError("query encoder", encoding, known=ENCODINGS)
        self._encoding = encoding
        self.encoders: dict[tuple[str, str], SentenceEncoder] = {}

    def copy_of(self, encoder: TextEncoder) -> TextEncoder:
        """Makes the copy of an encoder, where there is none yet.

        Args:
            encoder: Any; only one that computes by torch has a copy.

        Returns:
            The copy; the encoder itself where it has none.

        Raises:
            ExtraMissingError: When the way needs an extra that is not installed.
            ModelLoadError: When the encoder cannot compute so.
        """
        if not isinstance(encoder, SentenceEncoder) or not encoder.encoding == TORCH != self._encoding:
            return encoder
        key = (encoder.fingerprint, encoder.role)
        if key not in self.encoders:
            self.encoders[key] = encoder.computing(self._encoding)
        return self.encoders[key]

    def given_to(self, selector: Selector) -> Selector:
        """Changes how a selector embeds queries.

        Args:
            selector: Any; one that does not look for neighbours stays as it is.

        Returns:
            The selector.

        Raises:
            ExtraMissingError: When the way needs an extra that is not installed.
            ModelLoadError: When its encoder cannot compute so.
        """
        nearest = selector.nearest if isinstance(selector, LearnedSelector) else selector
        if not isinstance(nearest, NearestSelector):
            return selector
        nearest.query_encoder = self.copy_of(nearest.query_encoder)
        return selector


def served_method(served: Path | str) -> ServedMethod:
    """Reads what is to be served.

    Args:
        served: The folder of a policy or a retriever, or the name of a method.

    Returns:
        What it is.

    Raises:
        UnknownNameError: When it is neither.
        ArtifactError: When the policy is damaged or of another version.
    """
    folder = Path(served)
    if (folder / CARD_FILE).is_file():
        return ServedMethod(RETRIEVER, folder)
    if (folder / MANIFEST_FILE).is_file():
        return ServedMethod(POLICY, folder, read_manifest(folder).shots)
    known = tuple(name for name in METHODS if name not in UPPER_BOUNDS)  # a query of a client has no gold label
    if str(served) not in known:
        raise UnknownNameError("artifact or method", str(served), known=("the folder of an artifact", *known))
    return ServedMethod(str(served))
