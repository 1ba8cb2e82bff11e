"""The stage of the main job that compares methods, for one number of shots or several, and may be interrupted.

Every finished run lies in OUT/cells, and the same comparison takes it from there. This module knows nothing of
terminals; progress is shown by whoever passes a `Progress`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from policies.compared import (
    Prepared,
    Surroundings,
    display_name,
    has_retriever,
    hidden_in_training,
    prepare,
    reference,
)
from selector.data.paths import write_whole
from selector.data.pool import Pool
from selector.data.task import Task
from selector.errors import OwnChoicesError, TooFewExamplesError, UsageError
from selector.evaluation.cells import CellFolder, examples_fingerprint
from selector.evaluation.compare import Comparison, Entrants, compare_pools
from selector.evaluation.measured import check_metrics
from selector.evaluation.references import REFERENCES
from selector.evaluation.report import write_report
from selector.evaluation.results import results_of, write_results
from selector.evaluation.runs import run_once
from selector.evaluation.stability import StabilityReport, measure_stability
from selector.evaluation.tables import markdown_tables
from selector.ordering.permutations import PermutationConfig
from selector.progress import SILENT, Progress
from selector.strategies.dense import NearestSelector
from selector.strategies.named import FIXED
from selector.types import Example, Selection
from selector.version import __version__
from selector.workspace import Workspace

EQUAL: Final = "equal"


@dataclass(frozen=True)
class ComparisonPlan:
    """What is compared.

    Attributes:
        methods: Names, folders of artifacts or retrievers, dpp:FOLDER, references; NAME+ORDERER orders what NAME chose.
        shots: Demonstrations in each prompt; several numbers make one comparison each.
        seeds: Seeds of the methods with random choices.
        baseline: The method that the others are compared with.
        orderer: Orders what methods without an orderer of their own chose.
        limit: Use this many test queries at most.
        permutations: How many orders the entropy orders try.
        probes: How many reward queries, without their labels, are the probes of the entropy orders; dev queries where
            there are no reward queries. "lm" lets the language model write them, as published.
        dev_limit: How many dev queries searches, orders and `order_sets` may use at most.
        budget: What a method that searches on dev queries may ask of the language model in each run, tokens, instead
            of its own bounds. "equal": as many as the training of the dearest trained method among `methods` asked
            for; where no training is known, as many as the dearest of the searches asks for within its own bounds.
        metrics: Further metrics that tables show, by name.
        order_sets: How many random sets of demonstrations are tried in several orders on dev queries, for the report
            to tell whether order matters, before anything is compared; 0 spares the language model.
        force: Whether policies made for another pool, encoder, template or language model are taken, as where their
            transfer is measured.
        pools: Over how many pools every method runs: the task's own, and others of its size that are drawn from all
            rows it could hold. Policies made for the task's own pool choose from the others too.
    """

    methods: tuple[str, ...]
    shots: int | tuple[int, ...] = 4
    seeds: tuple[int, ...] = (0,)
    baseline: str = "nearest"
    orderer: str = "given"
    limit: int | None = None
    permutations: int = 24
    probes: int | Literal["lm"] = 16
    dev_limit: int | None = None
    budget: int | Literal["equal"] | None = None
    metrics: tuple[str, ...] = ()
    order_sets: int = 0
    force: bool = False
    pools: int = 1

    def __post_init__(self) -> None:
        if not self.methods:
            raise UsageError("no method is named", expected="at least one", remedy="Pass --methods NAME,NAME.")
        if not self.numbers_of_shots or min(self.numbers_of_shots) < 0:
            raise UsageError(
                f"the numbers of shots are {self.shots}", expected="at least one, 0 or more", remedy="Correct them."
            )
        if self.order_sets and max(self.numbers_of_shots) < 2:
            raise UsageError(
                "one demonstration has no order", expected="2 shots or more", remedy="Ask for no sets, or more shots."
            )
        if isinstance(self.probes, int) and self.probes < 1:
            raise UsageError(f"{self.probes} probes are asked for", expected="at least 1, or lm", remedy="Correct it.")
        if self.pools < 1:
            raise UsageError(f"{self.pools} pools are asked for", expected="at least 1", remedy="Correct --pools.")
        if isinstance(self.budget, int) and self.budget < 1:
            raise UsageError(f"the budget is {self.budget}", expected="at least 1 token", remedy="Correct it.")

    @property
    def numbers_of_shots(self) -> tuple[int, ...]:
        """The numbers of shots, ascending, each once."""
        return tuple(sorted({self.shots} if isinstance(self.shots, int) else set(self.shots)))


@dataclass(frozen=True)
class ComparisonOutcome:
    """What a comparison left behind.

    Attributes:
        comparisons: One for each number of shots, ascending.
        results: The content of results.json.
        results_file: results.json.
        report: report.html.
        table: table.md.
        runs: How many runs there are.
        reused: How many of them an earlier call had finished.
    """

    comparisons: tuple[Comparison, ...]
    results: dict[str, Any]
    results_file: Path
    report: Path
    table: Path
    runs: int
    reused: int

    @property
    def comparison(self) -> Comparison:
        """That with the most shots."""
        return self.comparisons[-1]


def compare_methods(
    workspace: Workspace,
    out: Path,
    *,
    plan: ComparisonPlan,
    command: str = "",
    resume: bool = True,
    progress: Progress = SILENT,
) -> ComparisonOutcome:
    """Compares methods on the task's test queries; writes results.json, CSV files, table.md and report.html.

    Args:
        workspace: The workspace.
        out: The folder for the files.
        plan: What is compared.
        command: The command that asked for it, for the record.
        resume: Whether runs that an earlier call has finished in this folder are taken from there; else they are
            deleted.
        progress: Shows queries.

    Returns:
        The comparisons and their files.

    Raises:
        UnknownNameError: When a method, orderer, metric or the baseline is not known.
        ArtifactMismatchError: When a policy was made for another pool or model, and the plan does not take it.
        ExtraMissingError: When a metric that is asked for needs a library that is not installed.
        OwnChoicesError: When a reference or a metric is asked for and queries have choices of their own.
        TooFewExamplesError: When the pool, or what a method names, is smaller than the number of shots.
        UsageError: When two rows would have one name, or several pools are asked for and the task has rows for one.
    """
    task = workspace.task
    _check_task(plan, task)
    queries, fields = task.test[: plan.limit], _fields(workspace, plan, progress)
    around = fields[0].around
    _check_names(plan)
    cells = CellFolder(out / "cells", depends_on=_depends_on(around, queries), resume=resume)
    stability = _stability(around, plan) if plan.order_sets else None
    comparisons, budgets = [], {}
    with cells.told_on_failure():
        for shots in plan.numbers_of_shots:
            budgets[str(shots)] = budget = _budget(plan, fields[0], queries, shots=shots, cells=cells)
            comparisons.append(_compared(plan, fields, queries, shots=shots, budget=budget, cells=cells))
    context = _context(fields, plan, command, budgets)
    if stability is not None:
        context["stability"] = asdict(stability) | {"verdict": stability.verdict}
    return ComparisonOutcome(
        comparisons=tuple(comparisons),
        results=results_of(comparisons, context=context),
        results_file=write_results(out, comparisons, context=context),
        report=_report(out, comparisons, fields, queries, context=context, stability=stability, metrics=plan.metrics),
        table=write_whole(out / "table.md", markdown_tables(comparisons, context=context, metrics=plan.metrics)),
        runs=cells.finished,
        reused=cells.reused,
    )


@dataclass(frozen=True)
class _Field:
    """Everything that is compared over one pool."""

    around: Surroundings
    prepared: tuple[Prepared, ...]

    @property
    def pool(self) -> Pool:
        return self.around.workspace.task.pool


def _fields(workspace: Workspace, plan: ComparisonPlan, progress: Progress) -> list[_Field]:
    """The methods over each pool, all known to be in order."""
    if plan.pools > 1 and (named := [name for name in plan.methods if name.startswith(FIXED)]):
        raise UsageError(
            f"{named[0]} names members of the task's own pool, and {plan.pools} pools are compared",
            expected="methods that choose from any pool",
            remedy="Leave it out, or leave --pools out.",
        )
    fields = []
    for number in range(plan.pools):
        own = workspace.redrawn(number) if number else workspace
        # A policy that fits the task's own pool was checked there; choosing from others is what is asked of it here.
        around = _surroundings(own, plan, progress, force=plan.force or number > 0)
        names = [name for name in plan.methods if name not in REFERENCES]
        fields.append(_Field(around, tuple(prepare(name, around, seed=plan.seeds[0]) for name in names)))
    return fields


def _report(
    out: Path, comparisons: Sequence[Comparison], fields: Sequence[_Field], queries: Sequence[Example], **shown: Any
) -> Path:
    members = {example.uid: example for own in fields for example in own.pool}
    return write_report(out / "report.html", comparisons, pool=list(members.values()), queries=queries, **shown)


def _context(
    fields: Sequence[_Field], plan: ComparisonPlan, command: str, budgets: dict[str, int | None]
) -> dict[str, Any]:
    workspace = fields[0].around.workspace
    task = workspace.task
    return {
        "task": task.name,
        "lm": task.lm.model,
        "scoring": task.lm.scoring,
        "calibration": task.lm.calibration,
        "command": command,
        "seeds": list(plan.seeds),
        "budget": None if plan.budget is None else {"asked": plan.budget, "lm_tokens": budgets},
        "leaks": asdict(task.leaks),
        "hidden": _hidden(fields, task.test[: plan.limit]),
        "pools": [own.pool.fingerprint for own in fields],
        "pool_overlap": _overlap(fields),
        "fingerprints": {"task": task.fingerprint, "language model": workspace.engine.lm.fingerprint},
    }


def _overlap(fields: Sequence[_Field]) -> float:
    """The mean share of members that two pools have in common."""
    members = [{example.uid for example in own.pool} for own in fields]
    return float(np.mean([len(one & other) / len(one) for one, other in combinations(members, 2)] or [1.0]))


def _hidden(fields: Sequence[_Field], queries: Sequence[Example]) -> dict[str, int | None]:
    """How often a member of a pool was kept from a query that it repeats: from test queries, and in each training."""
    shown = sum(len(own.pool.duplicates_of(query)) for own in fields for query in queries)
    counted: dict[str, int | None] = {"from test queries": shown}
    for one in fields[0].prepared:
        if has_retriever(one.spec):
            counted[f"in the training of {display_name(one.spec)}"] = hidden_in_training(one.spec)
    return counted


def _stability(around: Surroundings, plan: ComparisonPlan) -> StabilityReport:
    """How much accuracy depends on order: random sets of the most shots, on dev queries, which no table counts."""
    pool, rng = around.workspace.task.pool, np.random.default_rng(plan.seeds[0])
    shots = min(max(plan.numbers_of_shots), len(pool))
    sets = [Selection.of(*map(int, rng.choice(len(pool), shots, replace=False))) for _ in range(plan.order_sets)]
    tried = PermutationConfig(permutations=around.permutations, seed=plan.seeds[0])
    return measure_stability(around.workspace.engine, around.dev, sets, config=tried)


def _baseline(plan: ComparisonPlan) -> str:
    return plan.baseline if plan.baseline in REFERENCES else display_name(plan.baseline)


def _check_task(plan: ComparisonPlan, task: Task) -> None:
    """Finds what the task cannot give before the language model is asked anything."""
    check_metrics(plan.metrics, free_text=task.template.free_text)
    if task.template.multiple_choice:
        named = [f"the metric {name}" for name in plan.metrics]
        named += [f"the reference {name}" for name in plan.methods if name in REFERENCES]
        if named:
            raise OwnChoicesError(named[0])
    most = max(plan.numbers_of_shots)
    if most > len(task.pool):
        raise TooFewExamplesError(available=len(task.pool), wanted=most)


def _check_names(plan: ComparisonPlan) -> None:
    """Finds what would only show behind a search for the budget, or behind the first numbers of shots."""
    names = [name if name in REFERENCES else display_name(name) for name in plan.methods]
    if len(set(names)) < len(names):
        raise UsageError(f"the rows would be named {names}", expected="distinct names", remedy="Rename a folder.")
    if _baseline(plan) not in names:
        raise UsageError(
            f"the baseline is {_baseline(plan)!r}, and the methods are {', '.join(names)}",
            expected="one of them, which the others are compared with",
            remedy=f"Pass --baseline {names[0]}, or add the baseline to --methods.",
        )


def _surroundings(workspace: Workspace, plan: ComparisonPlan, progress: Progress, *, force: bool) -> Surroundings:
    task = workspace.task
    return Surroundings(
        workspace=workspace,
        nearest=NearestSelector(task.pool, workspace.encoder),
        orderer=plan.orderer,
        dev=task.dev[: plan.dev_limit],
        probes=() if plan.probes == "lm" else (task.reward or task.dev)[: plan.probes],
        permutations=plan.permutations,
        shots=plan.numbers_of_shots,
        force=force,
        progress=progress,
    )


def _depends_on(around: Surroundings, queries: Sequence[Example]) -> dict[str, Any]:
    """What every run depends on. Queries count with their texts: uids may be line numbers."""
    task, engine = around.workspace.task, around.workspace.engine
    return {
        "task": task.fingerprint,
        "language model": engine.lm.fingerprint,
        "window": engine.lm.context_length,  # of a server it is a setting
        "fields": task.input_columns,  # encoders read them in this order
        "scoring": engine.scoring,
        "calibration": engine.calibration,
        "encoder": around.workspace.encoder.fingerprint,
        "queries": examples_fingerprint(queries),
        "search queries": examples_fingerprint(around.dev),
        "probes": examples_fingerprint(around.probes),
        "permutations": around.permutations,
        "shotsmith": __version__,
    }


def _budget(
    plan: ComparisonPlan, field: _Field, queries: Sequence[Example], *, shots: int, cells: CellFolder
) -> int | None:
    """What a search may ask of the language model, tokens; None leaves searches their own bounds."""
    if plan.budget != EQUAL:
        return plan.budget
    unbounded = [one.method(None, shots) for one in field.prepared]
    if trained := max((method.training or 0 for method in unbounded), default=0):
        return int(trained)
    searches = [method for one, method in zip(field.prepared, unbounded, strict=True) if one.searched]
    if not shots or not searches:
        return None
    spent = [
        run_once(field.around.workspace.engine, queries, method, shots=shots, seed=plan.seeds[0], cells=cells)
        for method in searches
    ]
    return max(row.phases.selecting.tokens for row in spent)


def _compared(
    plan: ComparisonPlan,
    fields: Sequence[_Field],
    queries: Sequence[Example],
    *,
    shots: int,
    budget: int | None,
    cells: CellFolder,
) -> Comparison:
    named = [name for name in plan.methods if name in REFERENCES]
    return compare_pools(
        [
            Entrants(
                engine=own.around.workspace.engine,
                methods=[one.method(budget, shots) for one in own.prepared],
                references=[reference(name, own.around, shots=shots) for name in named],
            )
            for own in fields
        ],
        queries,
        shots=shots,
        seeds=plan.seeds,
        baseline=_baseline(plan),
        cells=cells,
        progress=fields[0].around.progress,
    )
