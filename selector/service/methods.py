"""What a service serves, and how a selector follows a pool that has changed without embedding again what it knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from selector.data.pool import Pool
from selector.errors import UnknownNameError
from selector.inference.engine import InferenceEngine
from selector.learned.artifact import MANIFEST_FILE
from selector.retrieval.encoder import BFLOAT16, SentenceEncoder
from selector.strategies.base import Selector
from selector.strategies.corpus import CorpusSelector
from selector.strategies.dense import NearestSelector
from selector.strategies.exported import load_learned
from selector.strategies.learned import LearnedSelector
from selector.strategies.named import METHODS, UPPER_BOUNDS
from selector.strategies.retriever import CARD_FILE

POLICY, RETRIEVER = "policy", "retriever"


@dataclass(frozen=True)
class ServedMethod:
    """The method that a service answers by when it is not told another one.

    Attributes:
        name: What clients call it; it tells nothing of where a folder lies.
        folder: Of the artifact; None for a method by name.
    """

    name: str
    folder: Path | None = None

    def load(self, pool: Pool, *, engine: Callable[[], InferenceEngine], force: bool) -> Selector:
        """Loads the artifact.

        Args:
            pool: What is chosen from.
            engine: Gives the engine; called where a policy needs it.
            force: Whether a policy made for another pool or encoder is taken.

        Returns:
            The selector.

        Raises:
            ArtifactError: When it is damaged.
            ArtifactMismatchError: When it was made for something else and `force` is off.
        """
        return load_learned(self.folder or "", pool, force=force, engine=engine)


class QuickQueries:
    """Lets selectors embed queries in bfloat16, the pool as ever; of encoders that embed alike one copy is made.

    Args:
        wanted: Whether they shall.

    Attributes:
        encoders: The copies, by the fingerprint of what they are copies of.
    """

    def __init__(self, *, wanted: bool = True) -> None:
        self._wanted = wanted
        self.encoders: dict[str, SentenceEncoder] = {}

    def given_to(self, selector: Selector) -> Selector:
        """Changes how a selector embeds queries.

        Args:
            selector: Any; one that does not look for neighbours stays as it is.

        Returns:
            The selector.
        """
        nearest = selector.nearest if isinstance(selector, LearnedSelector) else selector
        if not self._wanted or not isinstance(nearest, NearestSelector):
            return selector
        own = nearest.query_encoder
        if isinstance(own, SentenceEncoder) and not own.fingerprint.endswith(BFLOAT16):
            if own.fingerprint not in self.encoders:
                self.encoders[own.fingerprint] = own.in_bfloat16()
            nearest.query_encoder = self.encoders[own.fingerprint]
        return selector


def served_method(served: Path | str) -> ServedMethod:
    """Reads what is to be served.

    Args:
        served: The folder of a policy or a retriever, or the name of a method.

    Returns:
        What it is.

    Raises:
        UnknownNameError: When it is neither.
    """
    folder = Path(served)
    if (folder / CARD_FILE).is_file():
        return ServedMethod(RETRIEVER, folder)
    if (folder / MANIFEST_FILE).is_file():
        return ServedMethod(POLICY, folder)
    known = tuple(name for name in METHODS if name not in UPPER_BOUNDS)  # a query of a client has no gold label
    if str(served) not in known:
        raise UnknownNameError("artifact or method", str(served), known=("the folder of an artifact", *known))
    return ServedMethod(str(served))


def updated_selector(former: Selector, pool: Pool, engine: Callable[[], InferenceEngine]) -> Selector | None:
    """Makes a selector over a pool that has changed, with the network, encoder and index of the former one.

    Args:
        former: Over the pool as it was; not to be used afterwards.
        pool: The pool as it is.
        engine: Gives the engine over it; called where a policy needs it.

    Returns:
        The selector; None where it has to be built anew, with an encoder that remembers what it has embedded.
    """
    if isinstance(former, LearnedSelector):
        manifest = former.artifact.manifest
        needed = former.artifact.asks_language_model or manifest.token_budget is not None
        asked = engine() if needed else None
        return LearnedSelector(
            former.artifact,
            pool,
            former.encoder,
            engine=asked,
            beams=former.beams,
            shortlist_size=former.shortlist_size,
        )
    if isinstance(former, CorpusSelector):
        asked = engine() if former.artifact.needs_engine else None
        return CorpusSelector(former.artifact, pool, former.encoder, engine=asked, task_queries=former.task_queries)
    if isinstance(former, NearestSelector):
        return NearestSelector(
            pool,
            former.encoder,
            labelled_demonstrations=former.labelled_demonstrations,
            query_encoder=former.query_encoder,
            index=former.index,
        )
    return None
