"""Tests of comparison, over toy models."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from policies import compared
from policies.comparison import ComparisonOutcome, ComparisonPlan, compare_methods
from selector.data.splits import LeakReport
from selector.data.task import Task
from selector.errors import (
    ArtifactError,
    ArtifactMismatchError,
    OwnChoicesError,
    TooFewExamplesError,
    UnknownNameError,
    UsageError,
)
from selector.inference.engine import InferenceEngine
from selector.learned.artifact import write_artifact
from selector.learned.manifest import Manifest
from selector.learned.network import PointerNetwork, PointerNetworkConfig
from selector.learned.observation import FEATURES
from selector.lm.config import LanguageModelConfig
from selector.prompting.template import PromptTemplate
from selector.retrieval.config import EncoderConfig
from selector.strategies.retriever import RetrieverCard, write_retriever_card
from selector.strategies.searched import GreedySelector
from selector.testing import ToyEncoder, ToyLanguageModel, planted_examples, planted_pool, planted_template
from selector.types import Example
from selector.workspace import Workspace

METHODS = ("nearest", "random", "max-entropy", "best-of-k", "greedy+mdl", "zero", "label-vote", "majority")
PLAN = ComparisonPlan(methods=METHODS, shots=2, seeds=(0, 1))


def workspace_of(test: tuple[Example, ...] = tuple(planted_examples(8, seed=7, prefix="test"))) -> Workspace:
    """A task over planted reviews with toy models."""
    task = Task(
        name="toy",
        pool=planted_pool(),
        reward=tuple(planted_examples(4, seed=5, prefix="reward")),
        dev=tuple(planted_examples(4, seed=6, prefix="dev")),
        test=test,
        template=planted_template(),
        lm=LanguageModelConfig(),
        encoder=EncoderConfig(),
        leaks=LeakReport(),
        reserve=tuple(planted_examples(12, seed=8, prefix="spare")),
    )
    workspace = Workspace(task, use_store=False)
    workspace.__dict__ |= {
        "engine": InferenceEngine(ToyLanguageModel(), task.template, task.pool),
        "encoder": ToyEncoder(),
    }
    return workspace


def timeless(value: Any) -> Any:
    """Results without how long they took."""
    if isinstance(value, dict):
        return {key: timeless(own) for key, own in value.items() if key != "seconds"}
    return [timeless(own) for own in value] if isinstance(value, list) else value


def run(out: Path, plan: ComparisonPlan = PLAN, **options: Any) -> ComparisonOutcome:
    return compare_methods(workspace_of(), out, plan=plan, **options)


def test_an_interrupted_comparison_ends_as_if_it_had_not_been(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards resuming as a whole: what is finished is kept, told, not asked again, and the files are the same.

    The interruption comes at the second number of shots, where methods that remember answers would cost less.
    """
    plan = replace(PLAN, shots=(1, 2))
    whole = run(tmp_path / "whole", plan)
    search = GreedySelector.select

    def killed(self: GreedySelector, queries: Any, k: int) -> Any:
        if k == 2:
            raise KeyboardInterrupt
        return search(self, queries, k)

    monkeypatch.setattr(GreedySelector, "select", killed)
    with pytest.raises(KeyboardInterrupt) as caught:
        run(tmp_path / "cut", plan)
    kept = len(list((tmp_path / "cut" / "cells").glob("*.json")))
    assert f"{kept} finished runs are kept" in caught.value.__notes__[0]
    assert not (tmp_path / "cut" / "results.json").exists()
    monkeypatch.undo()
    resumed = run(tmp_path / "cut", plan)
    assert resumed.reused == kept
    assert resumed.runs == whole.runs > kept
    assert timeless(resumed.results) == timeless(whole.results)
    for file in ("per_query.csv", "table.md"):
        assert (tmp_path / "whole" / file).read_text() == (tmp_path / "cut" / file).read_text()


def test_a_finished_comparison_asks_nothing(tmp_path: Path) -> None:
    """Guards the second run of a command, and --no-resume, which asks all of it again."""
    first = run(tmp_path)
    workspace = workspace_of()
    again = compare_methods(workspace, tmp_path, plan=PLAN)
    assert workspace.usage.calls == 0
    assert (first.reused, again.reused) == (0, first.runs)
    assert again.results == first.results
    afresh = compare_methods(workspace, tmp_path, plan=PLAN, resume=False)
    assert afresh.reused == 0
    assert workspace.usage.calls > 0


@pytest.mark.parametrize(
    "changes", [{"label": "rotten"}, {"fields": {"text": "a text that was corrected under its old number"}}]
)
def test_a_changed_query_reuses_nothing(changes: dict[str, Any], tmp_path: Path) -> None:
    """Guards against answers to another text or label under the same uid."""
    run(tmp_path)
    queries = planted_examples(8, seed=7, prefix="test")
    first = next(query for query in queries if query.label == "fresh")
    changed = workspace_of(tuple(replace(query, **changes) if query is first else query for query in queries))
    assert compare_methods(changed, tmp_path, plan=PLAN).reused == 0
    changed.engine.lm = ToyLanguageModel(context_length=40)  # of a server a setting, which no fingerprint holds
    assert compare_methods(changed, tmp_path, plan=PLAN).reused == 0


def test_what_a_setting_does_not_touch_is_reused(tmp_path: Path) -> None:
    """Guards more methods, seeds and shots against starting all over, and settings that matter against being missed."""
    first = run(tmp_path)
    more = replace(PLAN, methods=(*PLAN.methods, "bm25"), shots=(2, 3), seeds=(0, 1, 2))
    assert run(tmp_path, more).reused == first.runs
    assert run(tmp_path, replace(PLAN, budget=5_000)).reused == first.runs - 4  # two searches, two seeds each
    for changes in ({"dev_limit": 2}, {"probes": 2}, {"permutations": 3}, {"limit": 5}):
        assert run(tmp_path, replace(PLAN, **changes)).reused == 0  # type: ignore[arg-type]


def test_a_sweep_is_one_comparison_for_each_number(tmp_path: Path) -> None:
    """Guards the keys of results.json for one number of shots and for several, and one verdict for each."""
    single = run(tmp_path / "single").results
    swept = run(tmp_path / "swept", replace(PLAN, shots=(2, 0, 2)))
    results = swept.results
    assert (single["shots"], results["shots"]) == (2, [0, 2])
    assert [own.shots for own in swept.comparisons] == [0, 2]
    assert timeless([row for row in results["rows"] if row["shots"] == 2]) == timeless(single["rows"])
    assert timeless([entry for entry in results["summary"] if entry["shots"] == 2]) == timeless(single["summary"])
    assert results["verdicts"].keys() == {"0", "2"}
    assert results["verdict"] == results["verdicts"]["2"] == single["verdict"]
    at_zero = {row["method"]: row for row in results["rows"] if row["shots"] == 0}
    assert at_zero["greedy+mdl"]["accuracy"] == at_zero["zero"]["accuracy"]
    assert at_zero["best-of-k"]["phases"]["selecting"]["lm_tokens"] == 0
    text = swept.table.read_text()
    assert text.index("0 shots") < text.index("2 shots")


def test_costs_and_metrics_stand_in_every_file(tmp_path: Path) -> None:
    """Guards a search's tokens against being lost between rows, summary and the CSV file."""
    outcome = run(tmp_path, replace(PLAN, metrics=("macro-f1",)))
    rows = outcome.results["rows"]
    for row in rows:
        for name in ("lm_calls", "lm_tokens", "lm_tokens_computed"):
            assert row[name] == sum(phase[name] for phase in row["phases"].values())
    by_name = {entry["method"]: entry for entry in outcome.results["summary"]}
    assert by_name["best-of-k"]["phases"]["selecting"]["lm_tokens"] > 0
    assert by_name["greedy+mdl"]["phases"]["ordering"]["lm_tokens"] > 0
    assert by_name["nearest"]["phases"]["training"] == {"lm_tokens": 0}
    assert by_name["random"]["metrics"].keys() == {"macro-f1", "balanced-accuracy", "ece"}
    assert "macro-f1" in outcome.table.read_text()
    with (tmp_path / "runs.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [int(line["selecting_lm_tokens"]) for line in lines] == [
        row["phases"]["selecting"]["lm_tokens"] for row in rows
    ]
    assert next(line for line in lines if line["method"] == "majority")["ece"] == ""


def untrained(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    """Lets folders that hold the card of a retriever alone choose as bm25 does."""
    build = compared.build_selector

    def built(name: str, **options: Any) -> Any:
        return build("bm25" if Path(name) in folders else name, **options)

    monkeypatch.setattr(compared, "build_selector", built)


def search_tokens(outcome: ComparisonOutcome, method: str) -> list[int]:
    return [row.phases.selecting.tokens for row in outcome.comparison.rows_of(method)]


def test_equal_budgets_follow_the_dearest_search_where_nothing_was_trained(tmp_path: Path) -> None:
    """Guards --budget equal among searches: the cheap one may spend as much as the dear one."""
    plan = replace(PLAN, methods=("nearest", "best-of-k", "greedy"), shots=(0, 1), seeds=(0,))
    plain = run(tmp_path, plan)
    equal = run(tmp_path, replace(plan, budget="equal"))
    [dearest] = search_tokens(plain, "greedy")
    assert dearest > 1.4 * search_tokens(plain, "best-of-k")[0]
    assert equal.results["budget"] == {"asked": "equal", "lm_tokens": {"0": None, "1": dearest}}
    assert 0.9 * dearest <= search_tokens(equal, "best-of-k")[0] <= 1.05 * dearest
    assert plain.results["budget"] is None


def test_equal_budgets_follow_the_dearest_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the comparison of learning with searching at one price, known or not, and the price in the verdict."""
    folders = [tmp_path / name for name in ("cheap", "dear", "unknown")]
    for folder, tokens in zip(folders, (10_000, 20_000, None), strict=True):
        folder.mkdir()
        write_retriever_card(folder, RetrieverCard("base", "p", "t", "l", training_lm_tokens=tokens))
    untrained(monkeypatch, *folders)
    plan = ComparisonPlan(methods=(*map(str, folders), "best-of-k"), baseline=str(folders[0]), shots=2, budget="equal")
    outcome = run(tmp_path / "out", plan)
    assert outcome.results["budget"] == {"asked": "equal", "lm_tokens": {"2": 20_000}}
    assert 18_000 < search_tokens(outcome, "best-of-k")[0] < 21_000
    by_name = {entry["method"]: entry for entry in outcome.results["summary"]}
    assert [by_name[folder.name]["phases"]["training"]["lm_tokens"] for folder in folders] == [10_000, 20_000, None]
    assert outcome.comparison.verdict is not None
    standings = {own.method: own.tokens for own in outcome.comparison.verdict.standings}
    assert standings["dear"] - standings["cheap"] == 10_000
    # Trained anew in its old folder, it is another method.
    write_retriever_card(folders[1], RetrieverCard("other", "p", "t", "l", training_lm_tokens=20_000))
    assert run(tmp_path / "out", plan).reused == outcome.runs - 1


def test_wrong_requests_cost_nothing(tmp_path: Path) -> None:
    """Guards against mistakes that show behind a search for the budget or the first number of shots."""
    workspace = workspace_of()
    for changes, error, found in (
        ({"methods": ("nearest", "greedy", "greedy"), "budget": "equal"}, UsageError, "distinct names"),
        ({"baseline": "nearst", "budget": "equal"}, UsageError, "nearst"),
        ({"metrics": ("rouge-l",)}, UnknownNameError, "rouge-l"),
        ({"methods": ("nearest", "nearest+globall")}, UnknownNameError, "globall"),
        ({"shots": (1, 1000)}, TooFewExamplesError, "1000"),
        (
            {"methods": ("nearest", f"fixed:{planted_pool()[0].uid}"), "shots": (1, 2)},
            TooFewExamplesError,
            "fixed demonstrations",
        ),
    ):
        with pytest.raises(error, match=found):
            compare_methods(workspace, tmp_path, plan=replace(PLAN, **changes))  # type: ignore[arg-type]
    for changes in ({"shots": ()}, {"shots": -1}, {"budget": 0}, {"methods": ()}, {"probes": 0}, {"pools": 0}):
        with pytest.raises(UsageError):
            replace(PLAN, **changes)  # type: ignore[arg-type]
    assert workspace.usage.calls == 0


def test_references_are_refused_at_once_where_queries_have_choices(tmp_path: Path) -> None:
    """Guards against a comparison of choices that ends at its last row, with nothing to show."""
    workspace = workspace_of()
    template = PromptTemplate("Review: {text}\nSentiment:{label}", {}, multiple_choice=True)
    workspace.task = replace(workspace.task, template=template)
    with pytest.raises(OwnChoicesError, match="label-vote"):
        compare_methods(workspace, tmp_path, plan=PLAN)
    assert workspace.usage.calls == 0


def test_a_mistake_deletes_no_finished_runs(tmp_path: Path) -> None:
    """Guards `--no-resume` with a misspelt baseline, which threw everything away and then refused."""
    run(tmp_path)
    kept = sorted((tmp_path / "cells").glob("*.json"))
    with pytest.raises(UsageError, match="nearst"):
        run(tmp_path, replace(PLAN, baseline="nearst"), resume=False)
    assert sorted((tmp_path / "cells").glob("*.json")) == kept


def test_probes_come_from_dev_where_no_query_is_kept_for_rewards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards presets without reward queries: the language model wrote the probes, or wrote none and ended the work."""
    asked: list[Any] = []
    build = compared.build_orderer

    def watched(name: str, **options: Any) -> Any:
        asked.append(options["probes"])
        return build(name, **options)

    monkeypatch.setattr(compared, "build_orderer", watched)
    for rewards, wanted in ((None, "reward-"), ((), "dev-")):
        workspace = workspace_of()
        if rewards is not None:
            workspace.task = replace(workspace.task, reward=rewards)
        plan = replace(PLAN, methods=("nearest", "nearest+locale"), probes=3)
        compare_methods(workspace, tmp_path / wanted, plan=plan)
        assert [probe.uid.startswith(wanted) for probe in asked[-1]] == [True] * 3


def test_orders_that_are_drawn_are_drawn_anew_for_each_seed(tmp_path: Path) -> None:
    """Guards several seeds of a sample of orders, which were one draw."""
    plan = replace(PLAN, methods=("nearest", "nearest+locale"), shots=(2, 3), permutations=3)
    rows = [row for own in run(tmp_path, plan).comparisons for row in own.rows_of("nearest+locale")]
    assert [(row.shots, row.seed) for row in rows] == [(2, 0), (3, 0), (3, 1)]
    demonstrations = [[own.demonstrations for own in row.outcomes] for row in rows]
    assert demonstrations[1] != demonstrations[2]


def test_the_report_has_metrics_and_what_each_phase_cost(tmp_path: Path) -> None:
    """Guards the report against hiding a search, a training, or a metric that was asked for."""
    outcome = run(tmp_path, replace(PLAN, metrics=("macro-f1",)))
    page = outcome.report.read_text()
    for heading in ("macro-f1 x 100", "training tokens", "choosing", "answering"):
        assert f'<th scope="col">{heading}</th>' in page
    spent = outcome.comparison.rows_of("best-of-k")
    mean = sum(row.phases.selecting.tokens for row in spent) / len(spent)
    assert f"<td>{mean:,.0f}</td>" in page


def test_methods_run_over_several_pools(tmp_path: Path) -> None:
    """Guards pools that are one pool, that cost what is known already, and whose spread no file tells."""
    plan = replace(PLAN, methods=("nearest", "random", "zero", "label-vote"), pools=3)
    first = run(tmp_path, replace(plan, pools=1))
    assert "by pool" not in first.table.read_text() + first.report.read_text()
    outcome = run(tmp_path, plan)
    assert (first.reused, outcome.reused) == (0, first.runs)
    rows = outcome.comparison.rows
    assert [(row.seed, row.pool) for row in rows if row.method == "random"] == [
        (seed, pool) for pool in range(3) for seed in PLAN.seeds
    ]
    shown = [{uid for own in row.outcomes for uid in own.demonstrations} for row in rows if row.method == "nearest"]
    assert [any(uid.startswith("spare") for uid in own) for own in shown] == [False, True, True]
    assert shown[1] != shown[2]
    entry = next(own for own in outcome.comparison.summary if own.method == "random")
    assert entry.accuracy.estimate == pytest.approx(sum(entry.by_pool) / 3)
    assert f"{100 * min(entry.by_pool):.1f} to {100 * max(entry.by_pool):.1f}" in outcome.report.read_text()
    assert all("by pool" in file.read_text() for file in (outcome.table, outcome.report))
    assert len(set(outcome.results["pools"])) == 3
    lines = csv.DictReader((tmp_path / "per_query.csv").read_text().splitlines())
    assert {line["pool"] for line in lines} == {"0", "1", "2"}
    again = run(tmp_path, plan)
    assert (again.reused, again.results) == (again.runs, outcome.results)


def test_pools_need_rows_to_draw_from(tmp_path: Path) -> None:
    """Guards against pools that differ in the order of their rows alone."""
    workspace = workspace_of()
    workspace.task = replace(workspace.task, reserve=())
    with pytest.raises(UsageError, match="holds all"):
        compare_methods(workspace, tmp_path, plan=replace(PLAN, pools=2))


def test_what_is_hidden_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the count of duplicates at inference and in training, in results and report."""
    member = planted_pool()[0]
    workspace = workspace_of((*planted_examples(4, seed=7, prefix="test"), replace(member, uid="copied")))
    folder = tmp_path / "epr"
    folder.mkdir()
    write_retriever_card(folder, RetrieverCard("base", "p", "t", "l", hidden_duplicates=7))
    untrained(monkeypatch, folder)
    plan = replace(PLAN, methods=("nearest", str(folder)))
    outcome = compare_methods(workspace, tmp_path / "out", plan=plan)
    assert outcome.results["hidden"] == {"from test queries": 1, "in the training of epr": 7}
    assert "1 from test queries; 7 in the training of epr" in outcome.report.read_text()


def test_a_damaged_folder_is_found_before_any_work(tmp_path: Path) -> None:
    """Guards against an hour of answers before a folder turns out to be no retriever."""
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "shotsmith.json").write_text("{")
    workspace = workspace_of()
    with pytest.raises(ArtifactError):
        compare_methods(workspace, tmp_path / "out", plan=replace(PLAN, methods=("nearest", str(tmp_path / "bad"))))
    assert workspace.usage.calls == 0


def test_the_report_tells_whether_order_matters(tmp_path: Path) -> None:
    """Guards the stability report against standing in no file, and against being paid for unasked."""
    plan = replace(PLAN, methods=("nearest",), shots=(1, 3), order_sets=2)
    outcome = compare_methods(workspace_of(), tmp_path, plan=plan)
    told = json.loads(outcome.results_file.read_text())["stability"]
    assert [len(own["orders"]) for own in told["sets"]] == [6, 6]
    assert told["queries"] == 4
    assert told["verdict"] in outcome.report.read_text()
    assert "stability" not in compare_methods(workspace_of(), tmp_path, plan=replace(plan, order_sets=0)).results
    with pytest.raises(TooFewExamplesError):  # before anything is compared
        run(tmp_path / "few", replace(plan, dev_limit=1))
    assert not list((tmp_path / "few").rglob("*.json"))
    with pytest.raises(UsageError, match="no order"):
        replace(plan, shots=1)


def test_a_policy_of_another_pool_is_compared_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards the measure of transfer: refused by default, and answered from this pool with `--force`."""
    monkeypatch.setattr("selector.strategies.fitting.SentenceEncoder.load", lambda _: ToyEncoder())
    sizes = PointerNetworkConfig(width=ToyEncoder().width, features=len(FEATURES))
    fingerprints = {"pool": "another", "encoder": ToyEncoder().fingerprint, "template": "t", "language model": "m"}
    manifest = Manifest(2, 6, False, False, vars(sizes), "toy", fingerprints)
    folder = write_artifact(tmp_path / "policy", manifest, PointerNetwork(sizes))
    plan = replace(PLAN, methods=("nearest", str(folder)))
    with pytest.raises(ArtifactMismatchError, match="pool"):
        run(tmp_path / "refused", plan)
    outcome = run(tmp_path / "taken", replace(plan, force=True))
    assert [entry.method for entry in outcome.comparison.summary if entry.method == "policy"]
    rows = [row for row in outcome.comparison.rows if row.method == "policy"]
    known = {example.uid for example in planted_pool()}
    assert all(set(own.demonstrations) <= known and len(own.demonstrations) == 2 for own in rows[0].outcomes)
