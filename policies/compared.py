"""From the specs of a comparison to its methods and references: selectors, orderers, and what their answers depend on.

This module builds; it runs nothing and knows no files but the folders of artifacts and retrievers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import factorial
from pathlib import Path
from typing import Any, Final

from selector.evaluation.cells import folder_fingerprint
from selector.evaluation.compare import Method, Reference
from selector.evaluation.references import REFERENCES, reference_answers
from selector.learned.artifact import ENCODER_FOLDER, MANIFEST_FILE, read_manifest
from selector.ordering.base import Orderer
from selector.ordering.named import ENTROPY_ORDERERS, LM_ORDERERS, ORDERERS, build_orderer
from selector.pipeline import Pipeline
from selector.progress import SILENT, Progress
from selector.retrieval.encoder import TextEncoder
from selector.strategies.base import Selector
from selector.strategies.dense import NearestSelector
from selector.strategies.determinantal import DPPSelector
from selector.strategies.exported import ExportedSelector
from selector.strategies.fixed import FixedSelector
from selector.strategies.learned import LearnedSelector
from selector.strategies.named import (
    DPP_OVER,
    EMBEDDING_METHODS,
    FIXED,
    SEARCHED_METHODS,
    SEEDED_METHODS,
    SHOTLESS_METHODS,
    TEXT_METHODS,
    UPPER_BOUNDS,
    build_selector,
)
from selector.strategies.retriever import CARD_FILE, read_retriever_card
from selector.types import Example
from selector.workspace import Workspace

SHOTLESS_REFERENCES: Final = tuple(name for name in REFERENCES if name != "label-vote")


@dataclass(frozen=True)
class Surroundings:
    """What all methods of a comparison share.

    Attributes:
        workspace: The workspace.
        nearest: The pool's nearest by the task's encoder; embedded once for all methods.
        orderer: Orders what methods without an orderer of their own chose.
        dev: Labelled queries for the methods that search.
        probes: Queries whose inputs are the probes of the entropy orders; none lets the language model write them.
        shots: The numbers of shots that are compared.
        permutations: How many orders are tried by the orderers that ask the language model.
        force: Whether policies made for another pool, encoder, template or language model are taken.
        progress: Shows searches.
    """

    workspace: Workspace
    nearest: NearestSelector
    orderer: str
    dev: Sequence[Example]
    probes: Sequence[Example]
    permutations: int
    shots: Sequence[int]
    force: bool = False
    progress: Progress = SILENT

    def selector(self, name: str, *, seed: int, budget: int | None = None) -> Selector:
        """Builds a selector.

        Args:
            name: See `build_selector`.
            seed: For methods with random choices.
            budget: For methods that search, tokens; None leaves them their own bounds.

        Returns:
            The selector.
        """
        return build_selector(
            name,
            engine=self.workspace.engine,
            encoder=self.workspace.encoder,
            dev=self.dev,
            seed=seed,
            search_tokens=budget,
            nearest=self.nearest,
            force=self.force,
            task=self.workspace.task,
            progress=self.progress,
        )

    def ordering(self, name: str, encoder: TextEncoder, *, seed: int) -> Orderer:
        """Builds an orderer.

        Args:
            name: One of `ORDERERS`.
            encoder: For the orders by similarity.
            seed: For the orders that are tried where not all are, and for probes that are written.

        Returns:
            The orderer.
        """
        return build_orderer(
            name,
            engine=self.workspace.engine,
            encoder=encoder,
            probes=self.probes or None,
            dev=self.dev,
            permutations=self.permutations,
            seed=seed,
            progress=self.progress,
        )

    def draws_orders(self, orderer: str, shots: int) -> bool:
        """Tells whether an orderer makes random choices.

        Args:
            orderer: Its name.
            shots: Demonstrations in each prompt.

        Returns:
            Whether it tries a sample of the orders, or lets the language model write probes.
        """
        writes = orderer in ENTROPY_ORDERERS and not self.probes
        return orderer in LM_ORDERERS and shots > 1 and (writes or factorial(shots) > self.permutations)


@dataclass(frozen=True)
class Prepared:
    """A method that is known to be in order.

    Attributes:
        spec: As it was asked for.
        searched: Whether it searches on dev queries, so that a budget bounds it.
        method: Budget in tokens, or None, and the number of shots to the method.
    """

    spec: str
    searched: bool
    method: Callable[[int | None, int], Method]


def prepare(spec: str, around: Surroundings, *, seed: int) -> Prepared:
    """Prepares a method; its selector and orderer are built once now, so that a wrong name or folder costs nothing.

    Args:
        spec: A method's name, the folder of an artifact or a retriever, or dpp:FOLDER; SPEC+ORDERER orders its choice.
        around: What all methods share.
        seed: The first seed.

    Returns:
        The method, ready to be given a budget.

    Raises:
        UnknownNameError: When method or orderer are not known.
        ArtifactError: When a folder's content is missing or damaged.
        ArtifactMismatchError: When an artifact was made for another pool, template or language model, and that is not
            taken.
        TooFewExamplesError: When fewer demonstrations are fixed than shots are wanted.
        UsageError: When the method needs labels to score and targets are free text.
    """
    name, plus, orderer = _parts(spec, around.orderer)
    built = around.selector(name, seed=seed)
    if isinstance(built, ExportedSelector):
        built.check_engine(around.workspace.engine, force=around.force)
    encoder: TextEncoder = around.workspace.encoder
    if isinstance(built, ExportedSelector | NearestSelector | DPPSelector):
        encoder = built.encoder
    around.ordering(orderer, encoder, seed=seed)
    if isinstance(built, FixedSelector):
        built.require(max(around.shots))
    seeded, searched, shotless = name in SEEDED_METHODS, name in SEARCHED_METHODS, name in SHOTLESS_METHODS
    # What asked the language model may remember the answers: a run would then cost less behind another one.
    lasting = not seeded and _asks_nothing(name, built)
    folder = _folder(name)
    identity: dict[str, Any] = {"spec": name} if folder is None else {"content": folder_fingerprint(folder)}
    training = 0.0 if folder is None else training_tokens(folder)
    chooses_from = _pool_of(around)

    def method(budget: int | None, shots: int) -> Method:
        def build(seed: int) -> Pipeline:
            selector = built if lasting else around.selector(name, seed=seed, budget=budget)
            return Pipeline(selector, around.workspace.engine, orderer=around.ordering(orderer, encoder, seed=seed))

        return Method(
            short_name(name) + (plus + orderer if plus else ""),
            build,
            seeded=seeded or (not shotless and around.draws_orders(orderer, shots)),
            orderer=orderer,
            upper_bound=name in UPPER_BOUNDS,
            depends_on_shots=not shotless,
            training=training,
            identity=identity | ({"budget": budget} if searched else {}) | ({} if shotless else chooses_from),
        )

    return Prepared(spec, searched, method)


def reference(name: str, around: Surroundings, *, shots: int) -> Reference:
    """Builds an LM-free reference.

    Args:
        name: One of `REFERENCES`.
        around: What all share.
        shots: Voters of the label vote.

    Returns:
        The reference.
    """

    def answer(queries: Sequence[Example]) -> list[str]:
        workspace = around.workspace
        return reference_answers(
            name, pool=workspace.task.pool, encoder=workspace.encoder, queries=queries, shots=shots
        )

    shotless = name in SHOTLESS_REFERENCES
    return Reference(name, answer, depends_on_shots=not shotless, identity=_pool_of(around))


def training_tokens(folder: Path) -> float | None:
    """Reads what making a retriever or an artifact has asked of the language model.

    Args:
        folder: Its folder.

    Returns:
        Tokens, without sharing or cache; None where nobody counted them.
    """
    if (folder / CARD_FILE).is_file():
        return read_retriever_card(folder).training_lm_tokens
    return read_manifest(folder).training_lm_tokens


def has_retriever(spec: str) -> bool:
    """Tells whether a method was trained to retrieve.

    Args:
        spec: As it was asked for.

    Returns:
        Whether it is a retriever, or an artifact that holds one.
    """
    return _retriever(spec) is not None


def hidden_in_training(spec: str) -> int | None:
    """Reads how many members of the pool were kept, in mining and training, from queries that they repeat.

    Args:
        spec: As it was asked for; a retriever, or an artifact that holds one.

    Returns:
        The number; None where nobody counted.
    """
    folder = _retriever(spec)
    return None if folder is None else read_retriever_card(folder).hidden_duplicates


def _retriever(spec: str) -> Path | None:
    folder = _folder(_parts(spec, "")[0])
    places = () if folder is None else (folder, folder / ENCODER_FOLDER)
    return next((place for place in places if (place / CARD_FILE).is_file()), None)


def display_name(spec: str) -> str:
    """Gives the name of a method's rows.

    Args:
        spec: As it was asked for.

    Returns:
        The spec, with folders shortened to their last part.
    """
    name, plus, orderer = _parts(spec, "")
    return short_name(name) + (plus + orderer if plus else "")


def short_name(name: str) -> str:
    """Leaves out a folder's parents; dpp:FOLDER stays apart from FOLDER.

    Args:
        name: A method's name or folder.

    Returns:
        The short name.
    """
    if name.startswith(FIXED):
        return name
    folder = name.removeprefix(DPP_OVER)
    return (DPP_OVER if folder != name else "") + Path(folder).name


def has_orderer(spec: str) -> bool:
    """Tells whether a spec names its orderer.

    Args:
        spec: As it was asked for.

    Returns:
        Whether it is NAME+ORDERER.
    """
    return bool(_parts(spec, "")[1])


def _pool_of(around: Surroundings) -> dict[str, str]:
    return {"pool": around.workspace.task.pool.fingerprint}


def _parts(spec: str, otherwise: str) -> tuple[str, str, str]:
    """Name, "+" or nothing, orderer. Without a "+" it is a method, even where an orderer has its name."""
    name, plus, orderer = spec.rpartition("+")
    return (name, plus, orderer) if plus and orderer in ORDERERS else (spec, "", otherwise)


def _folder(name: str) -> Path | None:
    folder = Path(name.removeprefix(DPP_OVER))
    return folder if (folder / CARD_FILE).is_file() or (folder / MANIFEST_FILE).is_file() else None


def _asks_nothing(name: str, built: Selector) -> bool:
    """Whether choosing asks the language model nothing."""
    if isinstance(built, LearnedSelector):
        return not built.artifact.asks_language_model
    return name in TEXT_METHODS or name in EMBEDDING_METHODS or isinstance(built, NearestSelector | DPPSelector)
