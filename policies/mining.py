"""Mining: which demonstrations help the language model with which query (Rubin, Herzig & Berant, NAACL 2022).

Candidates are recalled by selectors, which leave out the query and its duplicates, and scored one-shot by the
inference engine. What is learned from the scores is `policies.epr`'s work; this module changes no weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from policies.mined import Candidate, MinedQuery, MiningHeader
from policies.mined_storage import HEADER_FILE, STORAGES, append_mined, open_mined
from policies.training_usage import usage_recorded
from selector.data.folder_kinds import other_kind
from selector.data.pool import Pool
from selector.errors import TooFewExamplesError, UnknownNameError, UsageError
from selector.inference.engine import InferenceEngine
from selector.progress import SILENT, Progress
from selector.strategies.base import Selector
from selector.types import Example, Selection

# (query, candidate) pairs in one language-model call: progress moves even on a slow CPU, and a kill loses one call.
PAIRS_PER_CALL = 240


@dataclass(frozen=True)
class MiningConfig:
    """How candidates are mined.

    Attributes:
        candidates: L, how many are scored for each query; at least 2.
        query_limit: Mine this many queries at most, None all of them; a later run with a higher limit goes on where
            this one ended.
        context: How many demonstrations stand before each candidate when it is scored (k-shot scoring): those
            that recall ranks behind the L candidates, the same before all of them. 0 scores one-shot.
        storage: "jsonl" appends lines to one file; "parquet" adds a file with every call of the language model.
        seed: Seeds the order in which queries are mined, so that any number of them is a fair sample.
    """

    candidates: int = 8
    query_limit: int | None = 100
    context: int = 0
    storage: str = "jsonl"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.storage not in STORAGES:
            raise UnknownNameError("storage", self.storage, known=STORAGES)
        if (
            min(
                self.candidates - 1,
                1 if self.query_limit is None else self.query_limit,
                self.context + 1,
                self.seed + 1,
            )
            < 1
        ):
            raise UsageError(
                f"mining is set to {self}",
                expected="candidates of 2 or more, a query limit of 1 or more, a context and a seed of 0 or more",
                remedy="Correct the setting.",
            )


def mine(
    engine: InferenceEngine,
    queries: Sequence[Example],
    *,
    recall: Selector | Sequence[Selector],
    config: MiningConfig | None = None,
    out: Path,
    resume: bool = True,
    progress: Progress = SILENT,
) -> Path:
    """Scores candidate demonstrations for labelled queries and writes them best first.

    The score of candidate c for query q with gold label y is log P(y | c, q), normalised over the labels; where
    targets are free text, the mean log-probability of its tokens. `policies.label_rule` says what counts as good. A
    candidate that does not fit into the context window beside the query is left out.

    Args:
        engine: Scores; candidates are positions in its pool.
        queries: Labelled queries, normally the members of the pool.
        recall: Recalls L candidates for each query; of several selectors their best ones are taken in turn.
        config: The settings; the defaults when None.
        out: The folder for the mined lists and mining.json; made when missing.
        resume: Whether queries that are already in the folder are kept; else they are discarded.
        progress: Shows how many queries are done.

    Returns:
        The folder.

    Raises:
        UsageError: When there is no selector, or the folder is a retriever, a run or an exported policy.
        EmptyPoolError: When there is no query.
        InvalidExampleError: When a query has no label, its uid occurs twice or it lacks a field of the template.
        UnknownLabelError: When a query's label has no verbalizer.
        TooFewExamplesError: When a query has fewer than L candidates.
        PromptTooLongError: When a query does not fit into the context window; nothing has been scored by then.
        DataFileError: When the folder holds candidates mined with other settings.
        DiskFullError: When the disk is full; finished queries are kept.
    """
    config = config or MiningConfig()
    selectors = tuple(recall) if isinstance(recall, Sequence) else (recall,)
    _require_own_folder(out)
    if not selectors:
        raise UsageError("no selector recalls candidates", expected="at least one", remedy="Pass a selector.")
    asked = Pool(queries)
    order = np.random.default_rng(config.seed).permutation(len(asked))
    planned = [asked[int(at)] for at in order[: config.query_limit]]
    _check(engine, planned, config.candidates + config.context)
    size = max(1, PAIRS_PER_CALL // config.candidates)
    with (
        usage_recorded(out, lambda: engine.lm.usage, marker=HEADER_FILE, resume=resume, progress=progress) as counted,
        counted.track("Mining candidates", len(planned)) as advance,
    ):
        done = {mined.query.uid for mined in open_mined(out, _header(engine, asked, selectors, config), resume=resume)}
        remaining = [query for query in planned if query.uid not in done]
        advance(len(planned) - len(remaining))
        for chunk in (remaining[start : start + size] for start in range(0, len(remaining), size)):
            found = recalled(selectors, chunk, config.candidates + config.context)
            append_mined(out, score_candidates(engine, chunk, found, context=config.context), storage=config.storage)
            advance(len(chunk))
    return out


def _require_own_folder(out: Path) -> None:
    kind, _ = other_kind(out)
    if kind and not (out / HEADER_FILE).is_file():
        raise UsageError(f"--out is {out}{kind}", expected="a folder of its own", remedy="Choose another --out.")


def recalled(selectors: Sequence[Selector], queries: Sequence[Example], count: int) -> list[list[int]]:
    """Recalls distinct candidates, taking the best that each selector has left in turn.

    Args:
        selectors: At least one.
        queries: N queries.
        count: L, candidates for each query.

    Returns:
        N lists of L pool positions, best first.

    Raises:
        TooFewExamplesError: When a query has fewer than L candidates.
    """
    by_selector = [selector.select(queries, count) for selector in selectors]
    # A selection's last index is its best; dict.fromkeys keeps the first of each position.
    in_turn = (
        dict.fromkeys(
            position for rank in zip(*(reversed(one.indices) for one in chosen), strict=True) for position in rank
        )
        for chosen in zip(*by_selector, strict=True)
    )
    return [list(positions)[:count] for positions in in_turn]


def score_candidates(
    engine: InferenceEngine, queries: Sequence[Example], candidates: Sequence[Sequence[int]], *, context: int = 0
) -> list[MinedQuery]:
    """Scores every candidate of every query in one engine call.

    Args:
        engine: The engine.
        queries: N labelled queries.
        candidates: N lists of pool positions, best recalled first.
        context: How many at the end of each list are not scored but stand before those that are, the best one last.

    Returns:
        N mined queries, their candidates by falling score; of equal scores in the order given.
    """
    pairs = [
        (number, query, position)
        for number, (query, positions) in enumerate(zip(queries, candidates, strict=True))
        for position in positions[: len(positions) - context]
    ]
    before = [tuple(positions[len(positions) - context :][::-1]) for positions in candidates]
    fitted = engine.fit(
        [query for _, query, _ in pairs], [Selection.of(*before[number], position) for number, _, position in pairs]
    )
    # A prompt that lacks a demonstration has a score that says nothing of the candidate.
    shown = [
        (pair, selection)
        for pair, selection in zip(pairs, fitted, strict=True)
        if len(selection.indices) == 1 + context
    ]
    scores = engine.gold_logprobs([query for (_, query, _), _ in shown], [selection for _, selection in shown])
    scored: list[list[Candidate]] = [[] for _ in queries]
    for ((number, _, position), _), score in zip(shown, scores, strict=True):
        scored[number].append(Candidate(position, engine.pool[position].uid, round(float(score), 6)))
    return [
        MinedQuery(query, tuple(sorted(found, key=lambda candidate: -candidate.score)))
        for query, found in zip(queries, scored, strict=True)
    ]


def _check(engine: InferenceEngine, queries: Sequence[Example], candidates: int) -> None:
    """Finds bad queries before hours of scoring, not in their midst."""
    for query in queries:
        engine.template.check(query)
    engine.fit(queries, [Selection.of()] * len(queries))
    available = len(engine.pool) - max(len(engine.pool.duplicates_of(query)) for query in queries)
    if available < candidates:
        raise TooFewExamplesError(available=available, wanted=candidates, what="candidates")


def _header(
    engine: InferenceEngine, queries: Pool, selectors: Sequence[Selector], config: MiningConfig
) -> MiningHeader:
    return MiningHeader(
        pool=engine.pool.fingerprint,
        queries=queries.fingerprint,
        template=engine.template.fingerprint,
        lm=engine.lm.fingerprint,
        scoring=engine.scoring,
        calibration=engine.calibration,
        recall=tuple(_named(selector) for selector in selectors),
        candidates=config.candidates,
        context=config.context,
        storage=config.storage,
        seed=config.seed,
        near_duplicates=engine.pool.near_duplicates,
    )


def _named(selector: Selector) -> str:
    """The kind of a selector and, where it has one, its encoder."""
    encoder = getattr(selector, "encoder", None)
    return type(selector).__name__ + (f":{encoder.fingerprint[:24]}" if encoder is not None else "")
