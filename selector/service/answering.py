"""What the service knows: the task, its models, the pool as edited, and a selector for each method over that pool.

Nothing here is safe under several threads: the service calls it from one. HTTP is not known here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from selector.data.pool import Pool
from selector.errors import InvalidExampleError, LanguageModelAbsentError, UnknownExampleError, UnknownNameError
from selector.inference.engine import InferenceEngine
from selector.ordering.base import Orderer
from selector.ordering.named import ORDERERS, build_orderer
from selector.retrieval.encoder import TORCH
from selector.service.choices import Recipe, Shown
from selector.service.journal import EditJournal, added, edited, removed
from selector.service.lazy_model import LazyLanguageModel
from selector.service.methods import QuickQueries, ServedMethod, served_method
from selector.service.remembering import Remembered, forget_queries
from selector.strategies.base import Selector
from selector.strategies.corpus import CorpusSelector
from selector.strategies.dense import NearestSelector
from selector.strategies.learned import LearnedSelector
from selector.strategies.named import DEV_METHODS, EMBEDDING_METHODS, LM_METHODS, TEXT_METHODS, build_selector
from selector.strategies.updated import updated_selector
from selector.types import Example, Prediction, Query, Selection
from selector.workspace import Workspace

TOKEN_METHODS: Final = ("bsr",)  # embeds every token of the pool, again after every edit, and not with every encoder
# Those that need no language model are quick enough for any client to ask for.
FREE_METHODS: Final = tuple(name for name in (*TEXT_METHODS, *EMBEDDING_METHODS) if name not in TOKEN_METHODS)
FREE_ORDERERS: Final = ORDERERS[:4]
UID_HEX: Final = 16


class Answerer:
    """Answers from an artifact or a method over the pool of a task, which may be edited.

    Args:
        workspace: The task and its models; its language model is loaded when something first needs it.
        served: What is served: the folder of a policy or retriever, or the name of a method.
        journal: Keeps the edits; None keeps them in memory alone.
        with_lm: Whether the language model may be asked.
        force: Whether a policy made for something else is taken.
        seed: For methods with random choices.
        query_encoder: One of `selector.retrieval.encoder.ENCODINGS`: how queries are embedded; the pool as ever.

    Raises:
        UnknownNameError: When `served` is neither a method nor such a folder, or there is no such query encoder.
        ExtraMissingError: When the query encoder needs an extra that is not installed.
        ArtifactError: When an artifact is damaged.
        ArtifactMismatchError: When a policy was made for another pool or encoder and `force` is off.
        LanguageModelAbsentError: When what is served needs the language model and `with_lm` is off.
    """

    def __init__(
        self,
        workspace: Workspace,
        served: Path | str,
        *,
        journal: EditJournal | None = None,
        with_lm: bool = True,
        force: bool = False,
        seed: int = 0,
        query_encoder: str = TORCH,
    ) -> None:
        self.task = workspace.task
        self.with_lm = with_lm
        self.journal = journal
        self._workspace = workspace
        self._force = force
        self._seed = seed
        self._quick = QuickQueries(query_encoder)
        if query_encoder != TORCH:
            self._quick.copy_of(workspace.encoder)  # it takes seconds: not in the middle of a request
        self._lm = LazyLanguageModel((lambda: workspace.engine.lm) if with_lm else None)
        self.served: ServedMethod = served_method(served)
        if self.served.name in (*LM_METHODS, *DEV_METHODS) and not with_lm:
            raise LanguageModelAbsentError(f"the method {self.served.name}")
        self.methods = tuple(dict.fromkeys((self.served.name, *FREE_METHODS)))
        self.orderers = ORDERERS if with_lm else FREE_ORDERERS
        self._remembered = Remembered()
        self._engines: dict[bool, InferenceEngine] = {}
        self._selectors: dict[str, Selector] = {}
        self._former: dict[str, Selector] = {}  # over the pool before the last edit
        self._orderers: dict[str, Orderer] = {}
        self.pool = workspace.task.pool
        self.fields = tuple(self.pool[0].fields)
        # Loaded over the task's own pool, which alone is held to an artifact's fingerprint.
        self._selectors[self.served.name] = self._quick.given_to(self._built(self.served.name))
        if journal is not None and journal.edits:
            self._change(edited(self.pool, journal.edits))

    @property
    def engine(self) -> InferenceEngine:
        """The engine over the pool as it is."""
        return self._engine(asked=True)

    @property
    def nearest(self) -> NearestSelector:
        """Finds the pool's nearest by the task's encoder."""
        found = self.selector("nearest")
        assert isinstance(found, NearestSelector)  # noqa: S101  # the method of that name is one
        return found

    def query(self, fields: Mapping[str, str], choices: Sequence[str] = (), uid: str | None = None) -> Query:
        """Makes a query.

        Args:
            fields: Its fields.
            choices: Its choices, where the task has some.
            uid: Of a row of the data set; by default its content gives it one, so that random choices do not depend on
                the batch.

        Returns:
            The query.

        Raises:
            InvalidExampleError: When fields or choices are not those of the task.
        """
        content = json.dumps([dict(sorted(fields.items())), list(choices)])
        own = uid or f"query-{hashlib.sha256(content.encode()).hexdigest()[:UID_HEX]}"
        return self._example(own, fields, None, choices)

    def method(self, name: str | None) -> str:
        """Gives the full name of a method.

        Args:
            name: As a client gives it; None is the one that is served.

        Returns:
            One of `methods`.

        Raises:
            UnknownNameError: When it is none of them; folders are not looked at.
        """
        if name is None:
            return self.methods[0]
        if name not in self.methods:
            raise UnknownNameError("method", name, known=self.methods)
        return name

    def check_orderer(self, name: str) -> None:
        """Makes sure that an orderer can be had.

        Args:
            name: As a client gives it.

        Raises:
            UnknownNameError: When there is none of that name.
            LanguageModelAbsentError: When it needs a language model and there is none.
        """
        if name not in ORDERERS:
            raise UnknownNameError("orderer", name, known=self.orderers)
        if name not in FREE_ORDERERS:
            self.require_lm(f"the orderer {name}")

    def selector(self, method: str) -> Selector:
        """Gives the selector of a method over the pool as it is.

        Args:
            method: One of `methods`.

        Returns:
            The selector; one made for the pool before an edit is brought up to date and embeds only what is new.
        """
        if method not in self._selectors:
            former = self._former.pop(method, None)
            made = None if former is None else updated_selector(former, self.pool, self._needed_engine)
            self._selectors[method] = self._quick.given_to(made or self._built(method))
        return self._selectors[method]

    def choose(self, recipe: Recipe, queries: Sequence[Query]) -> list[Selection]:
        """Chooses and orders.

        Args:
            recipe: How.
            queries: N queries.

        Returns:
            N selections of the pool as it is.

        Raises:
            UnknownNameError: When method or orderer are not known.
            TooFewExamplesError: When the pool is too small for a query.
        """
        chosen = self.selector(self.method(recipe.method or None)).select(queries, recipe.shots)
        ordered = chosen if recipe.orderer == "given" else self._ordered(recipe.orderer, queries, chosen)
        self._forget(queries)
        return ordered

    def select(self, recipe: Recipe, queries: Sequence[Query]) -> list[Shown]:
        """Chooses demonstrations; see `choose`.

        Args:
            recipe: How.
            queries: N queries.

        Returns:
            The demonstrations of each.
        """
        return [Shown.of(self.pool, chosen) for chosen in self.choose(recipe, queries)]

    def order(self, orderer: str, asked: Sequence[tuple[Query, Sequence[str]]]) -> list[Shown]:
        """Orders given demonstrations.

        Args:
            orderer: One of `orderers`.
            asked: N queries, each with the uids of its demonstrations.

        Returns:
            The demonstrations of each in the new order; scores are 0.

        Raises:
            UnknownExampleError: When the pool has no such uid.
            InvalidExampleError: When one stands twice.
        """
        positions = {example.uid: position for position, example in enumerate(self.pool)}
        given = []
        for _, uids in asked:
            if unknown := [uid for uid in uids if uid not in positions]:
                raise UnknownExampleError(unknown[0])
            if len(set(uids)) < len(uids):
                raise InvalidExampleError(
                    f"the demonstrations {list(uids)} name one twice", expected="each once", remedy="Leave it out."
                )
            given.append(Selection.of(*(positions[uid] for uid in uids)))
        queries = [query for query, _ in asked]
        ordered = self._ordered(orderer, queries, given)
        self._forget(queries)
        return [Shown.of(self.pool, selection) for selection in ordered]

    def predict(self, recipe: Recipe, queries: Sequence[Query]) -> list[tuple[Prediction, Shown]]:
        """Answers queries.

        Args:
            recipe: How demonstrations are chosen.
            queries: N queries.

        Returns:
            For each its answer, and the demonstrations that were really shown.

        Raises:
            LanguageModelAbsentError: When there is no language model.
            ArtifactMismatchError: When the policy was made for another template or language model.
        """
        engine = self.engine_for(recipe)
        predictions = engine.predict(queries, self.choose(recipe, queries))
        return [(own, Shown.of(self.pool, own.selection)) for own in predictions]

    def engine_for(self, recipe: Recipe) -> InferenceEngine:
        """Gives the engine that answers behind what a recipe chooses.

        Args:
            recipe: How demonstrations are chosen.

        Returns:
            The engine over the pool as it is.

        Raises:
            LanguageModelAbsentError: When there is no language model.
            ArtifactMismatchError: When the policy was made for another template or language model.
        """
        self.require_lm("a prediction")
        selector = self.selector(self.method(recipe.method or None))
        if isinstance(selector, LearnedSelector | CorpusSelector):
            selector.check_engine(self.engine, force=self._force)
        return self.engine

    def require_lm(self, what: str) -> None:
        """Makes sure that there is a language model.

        Args:
            what: What needs it.

        Raises:
            LanguageModelAbsentError: When there is none.
        """
        if not self.with_lm:
            raise LanguageModelAbsentError(what)

    def add(self, fields: Mapping[str, str], label: str, choices: Sequence[str] = (), uid: str | None = None) -> str:
        """Adds an example to the pool.

        Args:
            fields: Its fields.
            label: Its label.
            choices: Its choices, where the task has some.
            uid: By default one is made up.

        Returns:
            Its uid.

        Raises:
            InvalidExampleError: When it does not suit the task, or its uid is taken.
            UnknownLabelError: When there is no such label.
            DiskFullError: When the edit cannot be kept; the pool is as it was.
        """
        example = self._example(own := uid or self._free_uid(), fields, label, choices)
        self.task.template.demonstration(example)  # one without a rationale that is shown breaks later answers
        larger = added(self.pool, example)
        if self.journal is not None:
            self.journal.write(example)
        self._change(larger)
        return own

    def remove(self, uid: str) -> str:
        """Takes an example out of the pool.

        Args:
            uid: Of the example.

        Returns:
            The uid.

        Raises:
            UnknownExampleError: When there is none.
            EmptyPoolError: When it is the last one.
            DiskFullError: When the edit cannot be kept; the pool is as it was.
        """
        smaller = removed(self.pool, uid)
        if self.journal is not None:
            self.journal.write(uid)
        self._change(smaller)
        return uid

    def _needed_engine(self) -> InferenceEngine:
        """For policies that read the language model: without one the service does not even start."""
        self.require_lm("the policy that is served")
        return self.engine

    def _engine(self, *, asked: bool) -> InferenceEngine:
        """The engine over the pool; one that is not asked anything needs no language model to be made."""
        if asked not in self._engines:
            lm = self.task.lm
            settings = {"scoring": lm.scoring, "calibration": lm.calibration} if asked else {}
            self._engines[asked] = InferenceEngine(self._lm, self.task.template, self.pool, **settings)
        return self._engines[asked]

    def _built(self, method: str) -> Selector:
        if method == self.served.name and self.served.folder is not None:
            force = self._force or self.pool is not self.task.pool  # which was edited, and differs on purpose
            asked = self.served.task_queries(self.task) if self._force else ()
            return self.served.load(self.pool, engine=self._needed_engine, force=force, task_queries=asked)
        engine = self._engine(asked=method not in (*FREE_METHODS, *TOKEN_METHODS))
        return build_selector(method, engine=engine, encoder=self._workspace.encoder, dev=self._dev(), seed=self._seed)

    def _dev(self) -> list[Example]:
        """The dev queries that may judge: an edit may have brought the text of one into the pool."""
        return [example for example in self.task.dev if not self.pool.duplicates_of(example)]

    def _ordered(self, orderer: str, queries: Sequence[Query], selections: Sequence[Selection]) -> list[Selection]:
        self.check_orderer(orderer)
        if orderer not in self._orderers:  # some search for the order of a set with hundreds of scores, and remember it
            engine = self._engine(asked=orderer not in FREE_ORDERERS)
            self._orderers[orderer] = build_orderer(
                orderer, engine=engine, encoder=self._workspace.encoder, dev=self._dev(), seed=self._seed
            )
        return self._orderers[orderer].order(queries, selections)

    def _change(self, pool: Pool) -> None:
        self.pool = pool
        self._engines.clear()
        self._orderers.clear()
        self._former |= self._selectors
        self._selectors.clear()

    def _example(self, uid: str, fields: Mapping[str, str], label: str | None, choices: Sequence[str]) -> Example:
        """An example with the task's fields in the task's order, which encoders see."""
        if set(fields) != set(self.fields):
            raise InvalidExampleError(
                f"the fields are {sorted(fields)}", expected=f"{list(self.fields)}", remedy="Send these fields."
            )
        if choices and not self.task.choice_columns:
            raise InvalidExampleError(
                "choices were sent", expected="none: the task has labels", remedy="Leave the choices out."
            )
        example = Example(uid, {name: fields[name] for name in self.fields}, label, tuple(choices))
        self.task.template.check(example)
        return example

    def _forget(self, queries: Sequence[Query]) -> None:
        """Now and then lets encoders forget the texts of queries, and orderers the sets that were chosen for them."""
        if not self._remembered.too_much(queries, pool_size=len(self.pool)):
            return
        self._orderers.clear()
        own = [getattr(selector, "encoder", None) for selector in self._selectors.values()]
        forget_queries((self._workspace.encoder, *own, *self._quick.encoders.values()), self.pool)

    def _free_uid(self) -> str:
        known = {example.uid for example in self.pool}
        number = len(self.pool)
        while f"added-{number}" in known:
            number += 1
        return f"added-{number}"
