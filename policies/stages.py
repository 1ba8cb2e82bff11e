"""The stages of the main job over a workspace: mine, train the retriever, train the policy, compare.

Scripts, the command line and the demo call these, so that a stage means the same everywhere. They know nothing of
terminals; progress is shown by whoever passes a `Progress`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from envs.demonstrations import query_problem
from envs.dynamics import DecisionProblem
from policies.epr import train_retriever
from policies.mining import MiningConfig, mine
from policies.ppo import PolicyTrainingConfig, train_policy
from policies.recall import build_recall
from policies.retriever_config import RetrieverTrainingConfig
from policies.runs import Provenance
from selector.errors import UsageError
from selector.evaluation.compare import Comparison, Method, Reference, compare
from selector.evaluation.references import REFERENCES, reference_answers
from selector.evaluation.report import write_report
from selector.evaluation.results import results_of, write_results
from selector.ordering.named import ORDERERS, build_orderer
from selector.pipeline import Pipeline
from selector.progress import SILENT, Progress
from selector.strategies.dense import NearestSelector
from selector.strategies.determinantal import DPPSelector
from selector.strategies.exported import ExportedSelector
from selector.strategies.named import DPP_OVER, SEEDED_METHODS, UPPER_BOUNDS, build_selector
from selector.strategies.retriever import RetrieverSelector
from selector.types import Example
from selector.workspace import Workspace

# Neighbours give hard cases, random members the breadth that negatives need.
RECALL = ("nearest", "random")


def mine_candidates(
    workspace: Workspace,
    out: Path,
    *,
    config: MiningConfig,
    recall: Sequence[str] = RECALL,
    resume: bool = True,
    progress: Progress = SILENT,
) -> Path:
    """Mines members of the pool, leave-one-out.

    Args:
        workspace: The workspace.
        out: The mining folder.
        config: What is mined.
        recall: What proposes candidates, in turn; see `policies.recall.build_recall`.
        resume: Whether finished queries are kept.
        progress: Shows queries.

    Returns:
        The folder.
    """
    pool = workspace.task.pool
    selectors = build_recall(recall, pool=pool, encoder=workspace.encoder, seed=config.seed)
    return mine(
        workspace.engine, list(pool), recall=selectors, config=config, out=out, resume=resume, progress=progress
    )


def train_retriever_on(
    workspace: Workspace,
    mined: Path | Sequence[Path],
    out: Path,
    *,
    config: RetrieverTrainingConfig,
    progress: Progress = SILENT,
) -> Path:
    """Trains the retriever from the task's encoder.

    Args:
        workspace: The workspace.
        mined: A mining folder, or several of them.
        out: The retriever's folder.
        config: How to train.
        progress: Shows steps.

    Returns:
        The folder.
    """
    task = workspace.task
    return train_retriever(
        mined,
        task.pool,
        base_encoder=task.encoder.model,
        config=config,
        out=out,
        dev=task.dev,
        labels=task.template.labels,
        names=(task.name, task.lm.model),
        progress=progress,
    )


def train_policy_on(
    workspace: Workspace,
    out: Path,
    *,
    retriever: Path | None,
    config: PolicyTrainingConfig,
    limit: int | None = None,
    resume: bool = True,
    progress: Progress = SILENT,
) -> Path:
    """Trains a policy on the task's reward queries over the shortlists of a retriever or of the task's encoder.

    Args:
        workspace: The workspace.
        out: The run folder.
        retriever: The folder of a trained retriever; None takes the task's encoder.
        config: How to train.
        limit: Use this many reward queries and as many dev queries at most.
        resume: Whether to go on with what the folder holds.
        progress: Shows environment steps.

    Returns:
        The run folder.
    """
    task, engine = workspace.task, workspace.engine
    nearest = embeddings_of(workspace, retriever)

    def problem(queries: Sequence[Example]) -> DecisionProblem:
        return query_problem(
            engine,
            queries[:limit],
            nearest,
            config.decision(),
            reward=config.reward,
            token_cost=config.token_cost,
            at_least=config.shots,
        )

    return train_policy(
        problem(task.reward),
        problem(task.dev),
        out=out,
        config=config,
        provenance=provenance_of_policy(workspace, nearest, retriever),
        resume=resume,
        progress=progress,
    )


def embeddings_of(workspace: Workspace, retriever: Path | None) -> NearestSelector:
    """Gives the pool as a retriever, or the task's encoder, embeds it.

    Args:
        workspace: The workspace.
        retriever: The folder of a trained retriever; None takes the task's encoder.

    Returns:
        The pool, its embeddings and their search.
    """
    pool = workspace.task.pool
    return (
        RetrieverSelector.load(retriever, pool) if retriever is not None else NearestSelector(pool, workspace.encoder)
    )


def provenance_of_policy(workspace: Workspace, nearest: NearestSelector, retriever: Path | None) -> Provenance:
    """Says what a policy is trained on.

    Args:
        workspace: The workspace.
        nearest: What `embeddings_of` gave.
        retriever: The folder of a trained retriever, where it was one.

    Returns:
        The provenance.
    """
    task = workspace.task
    return Provenance(
        encoder=str(retriever.resolve()) if retriever is not None else task.encoder.model,
        labelled_demonstrations=nearest.labelled_demonstrations,
        fingerprints={
            "pool": task.pool.fingerprint,
            "template": task.template.fingerprint,
            "encoder": nearest.encoder.fingerprint,
            "language model": workspace.engine.lm.fingerprint,
        },
    )


@dataclass(frozen=True)
class ComparisonPlan:
    """What is compared.

    Attributes:
        methods: Names, folders of artifacts or retrievers, dpp:FOLDER, references; NAME+ORDERER orders what NAME chose.
        shots: Demonstrations in each prompt.
        seeds: Seeds of the methods with random choices.
        baseline: The method that the others are compared with.
        orderer: Orders what methods without an orderer of their own chose.
        limit: Use this many test queries at most.
        permutations: How many orders the entropy orders try.
        probes: How many reward queries, without their labels, are the probes of the entropy orders.
        search_limit: How many dev queries methods that search may use at most.
    """

    methods: tuple[str, ...]
    shots: int = 4
    seeds: tuple[int, ...] = (0,)
    baseline: str = "nearest"
    orderer: str = "given"
    limit: int | None = None
    permutations: int = 24
    probes: int = 8
    search_limit: int | None = None


@dataclass(frozen=True)
class ComparisonOutcome:
    """What a comparison left behind.

    Attributes:
        comparison: The comparison.
        results: The content of results.json.
        results_file: results.json.
        report: report.html.
    """

    comparison: Comparison
    results: dict[str, Any]
    results_file: Path
    report: Path


def compare_methods(
    workspace: Workspace, out: Path, *, plan: ComparisonPlan, command: str = "", progress: Progress = SILENT
) -> ComparisonOutcome:
    """Compares methods on the task's test queries and writes results.json, per_query.csv and report.html.

    Args:
        workspace: The workspace.
        out: The folder for the files.
        plan: What is compared.
        command: The command that asked for it, for the record.
        progress: Shows queries.

    Returns:
        The comparison and its files.

    Raises:
        UnknownNameError: When a method, orderer or the baseline is not known.
        UsageError: When no method is named, or two rows would have one name.
    """
    task, engine = workspace.task, workspace.engine
    if not plan.methods:
        raise UsageError("no method is named", expected="at least one", remedy="Pass --methods NAME,NAME.")
    methods = [_method(workspace, name, plan, progress) for name in plan.methods if name not in REFERENCES]
    references = [_reference(workspace, name, plan) for name in plan.methods if name in REFERENCES]
    names = [*(method.name for method in methods), *(reference.name for reference in references)]
    if len(set(names)) < len(names):
        raise UsageError(f"the rows would be named {names}", expected="distinct names", remedy="Rename a folder.")
    queries = task.test[: plan.limit]
    baseline = plan.baseline if plan.baseline in names else _display_name(plan.baseline)
    comparison = compare(
        engine,
        queries,
        methods=methods,
        references=references,
        shots=plan.shots,
        seeds=plan.seeds,
        baseline=baseline,
        progress=progress,
    )
    context = {
        "task": task.name,
        "lm": task.lm.model,
        "scoring": task.lm.scoring,
        "calibration": task.lm.calibration,
        "command": command,
        "seeds": list(plan.seeds),
        "leaks": asdict(task.leaks),
        "fingerprints": {"task": task.fingerprint, "language model": engine.lm.fingerprint},
    }
    return ComparisonOutcome(
        comparison=comparison,
        results=results_of(comparison, context=context),
        results_file=write_results(out, comparison, context=context),
        report=write_report(out / "report.html", [comparison], pool=task.pool, queries=queries, context=context),
    )


def _display_name(method: str) -> str:
    name, plus, orderer = method.partition("+")
    return _short(name) + plus + orderer


def _short(name: str) -> str:
    """A folder without its parents; dpp:FOLDER stays apart from FOLDER."""
    folder = name.removeprefix(DPP_OVER)
    return (DPP_OVER if folder != name else "") + Path(folder).name


def _method(workspace: Workspace, spec: str, plan: ComparisonPlan, progress: Progress) -> Method:
    """A method by its spec; its selector is built now, so that a wrong name or folder costs nothing."""
    task, engine = workspace.task, workspace.engine
    # Without a "+" it is a method, even where an orderer has its name.
    name, plus, orderer_name = spec.rpartition("+")
    if not plus or orderer_name not in ORDERERS:
        name, plus, orderer_name = spec, "", plan.orderer
    dev = task.dev[: plan.search_limit]

    def selector(seed: int) -> Any:
        return build_selector(name, engine=engine, encoder=workspace.encoder, dev=dev, seed=seed, progress=progress)

    built = selector(plan.seeds[0])
    if isinstance(built, ExportedSelector):
        built.check_engine(engine)
    own = isinstance(built, ExportedSelector | NearestSelector | DPPSelector)
    encoder = built.encoder if own else workspace.encoder
    orderer = build_orderer(
        orderer_name,
        engine=engine,
        encoder=encoder,
        probes=task.reward[: plan.probes] or None,
        dev=dev,
        permutations=plan.permutations,
        progress=progress,
    )
    seeded = name in SEEDED_METHODS

    def build(seed: int) -> Pipeline:
        return Pipeline(selector(seed) if seeded else built, engine, orderer=orderer)

    shown = _short(name) + (plus + orderer_name if plus else "")
    return Method(shown, build, seeded=seeded, orderer=orderer_name, upper_bound=name in UPPER_BOUNDS)


def _reference(workspace: Workspace, name: str, plan: ComparisonPlan) -> Reference:
    def answer(queries: Sequence[Example]) -> list[str]:
        return reference_answers(
            name, pool=workspace.task.pool, encoder=workspace.encoder, queries=queries, shots=plan.shots
        )

    return Reference(name, answer)
