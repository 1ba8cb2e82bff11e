"""Does the order of demonstrations matter, and do orderers find a better one than chance?

    python -m benchmarks.order_study                      everything; goes on where it was stopped
    python -m benchmarks.order_study --sets 2 --queries 50 --out FILE

For every random set of demonstrations: the accuracy of each of its orders on the same test queries, and which order the
entropy orderers, MDL (an order for each query) and the best on dev take. What counts is the accuracy of the order that
is taken minus the mean over orders, which is what no choice at all gives.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.studied_tasks import studied_task
from selector.errors import UsageError
from selector.evaluation.stability import stability_report
from selector.evaluation.statistics import paired_bootstrap
from selector.ordering.base import Orderer
from selector.ordering.best_on_dev import BestOnDevOrderer
from selector.ordering.entropy import EntropyConfig, EntropyOrderer
from selector.ordering.judging import Outcomes, right_answers
from selector.ordering.mdl import MDLOrderer
from selector.ordering.permutations import PermutationConfig, tried_orders
from selector.ordering.probing import generate_probes
from selector.progress import SILENT, Progress, RichProgress
from selector.types import Example, Selection
from selector.workspace import Workspace

HERE = Path(__file__).parent
ENTROPY = {
    "globale": ("globale", "none"),
    "locale": ("locale", "none"),
    "globale, calibrated": ("globale", "contextual"),
    "locale, calibrated": ("locale", "contextual"),
}
SetResult = dict[str, Any]


@dataclass(frozen=True)
class OrderStudyConfig:
    """What is the same for every set, and must be when a stopped study goes on.

    Attributes:
        shots: Demonstrations in a set.
        permutations: Orders of a set.
        queries: Test queries.
        dev: Labelled dev queries for the order that is best on them.
        probes: Dev inputs that serve as probes, their labels not looked at; 0 lets the language model write them.
        seed: Of the sets, the orders where not all are tried, and the writing of probes.
    """

    shots: int = 4
    permutations: int = 24
    queries: int = 100
    dev: int = 100
    probes: int = 0
    seed: int = 0


class OrderStudy:
    """One task.

    Args:
        workspace: The task and its models.
        config: What is the same for every set.
        out: Where the result goes, after every set.
        progress: Shows how far the work on a set is.

    Raises:
        UsageError: When the result that is there was made otherwise.
    """

    def __init__(
        self, workspace: Workspace, config: OrderStudyConfig, *, out: Path, progress: Progress = SILENT
    ) -> None:
        task = workspace.task
        self.workspace = workspace
        self.config = config
        self.out = out
        self.progress = progress
        self.queries = task.test[: config.queries]
        self.dev = task.dev[: config.dev]
        header = {"task": task.name, "fingerprint": task.fingerprint, "lm": task.lm.model, "settings": asdict(config)}
        self.result: dict[str, Any] = {**header, "sets": []}
        if out.is_file():
            self.result = json.loads(out.read_text(encoding="utf-8"))
            if changed := [name for name in header if self.result.get(name) != header[name]]:
                raise UsageError(
                    f"{out} was made with another {changed[0]} ({self.result.get(changed[0])})",
                    expected=str(header[changed[0]]),
                    remedy="Pass the same options, or another --out.",
                )

    def run(self, sets: int) -> None:
        """Measures the sets that are not measured yet.

        Args:
            sets: How many there are to be.
        """
        for number in range(len(self.result["sets"]), sets):
            before, start = self.workspace.usage, time.monotonic()
            measured = self._measured(number)
            used = self.workspace.usage - before
            cost = {"seconds": round(time.monotonic() - start, 1), "tokens_computed": used.tokens_computed}
            self.result["sets"].append(measured | {"cost": cost})
            self.result["summary"] = summary(self.result["sets"])
            self._write()
            print(f"set {number}: {shown_set(self.result['sets'][-1])}", flush=True)

    def _measured(self, number: int) -> SetResult:
        engine, config = self.workspace.engine, self.config
        rng = np.random.default_rng([config.seed, number])
        drawn = rng.choice(len(engine.pool), config.shots, replace=False)
        given = Selection.of(*map(int, drawn))
        tried = PermutationConfig(permutations=config.permutations, seed=config.seed)
        orders = tried_orders(given, tried)
        right = right_answers(engine, self.queries, orders)
        probes = list(self.dev[: config.probes]) or generate_probes(engine, orders, seed=config.seed)
        return {
            "uids": [engine.pool[index].uid for index in given.indices],
            "labels": [engine.pool[index].label for index in given.indices],
            "orders": [list(order.indices) for order in orders],
            "right": ["".join("01"[int(answer)] for answer in row) for row in right],
            "probes": len(probes),
            "taken": {name: self._taken(orderer, orders) for name, orderer in self._orderers(probes, tried).items()},
        }

    def _orderers(self, probes: Sequence[Example], tried: PermutationConfig) -> dict[str, Orderer]:
        engine, progress = self.workspace.engine, self.progress
        by_entropy = {
            name: EntropyOrderer(
                engine,
                probes,
                config=EntropyConfig(
                    statistic=statistic, calibration=calibration, permutations=tried.permutations, seed=tried.seed
                ),
                progress=progress,
            )
            for name, (statistic, calibration) in ENTROPY.items()
        }
        return {
            **by_entropy,
            "mdl": MDLOrderer(engine, config=tried, progress=progress),
            "best-on-dev": BestOnDevOrderer(engine, self.dev, config=tried, progress=progress),
        }

    def _taken(self, orderer: Orderer, orders: Sequence[Selection]) -> list[int]:
        """Which order is taken for each query; one number where it is the same for all."""
        ordered = orderer.order(self.queries, [orders[0]] * len(self.queries))
        taken = [orders.index(own) for own in ordered]
        return taken[:1] if len(set(taken)) == 1 else taken

    def _write(self) -> None:
        self.out.parent.mkdir(parents=True, exist_ok=True)
        part = self.out.with_suffix(".part")  # a kill while writing must not cost the sets that are done
        part.write_text(json.dumps(self.result, indent=1) + "\n", encoding="utf-8")
        part.replace(self.out)


def outcomes(measured: SetResult) -> Outcomes:
    """Reads which answers were right.

    Args:
        measured: One set.

    Returns:
        (P, N) of P orders and N queries.
    """
    return np.array([[mark == "1" for mark in row] for row in measured["right"]])


def taken_accuracy(measured: SetResult, name: str) -> float:
    """Computes the accuracy of what an orderer takes.

    Args:
        measured: One set.
        name: The orderer.

    Returns:
        The share of right answers.
    """
    right = outcomes(measured)
    taken = np.broadcast_to(measured["taken"][name], right.shape[1])
    return float(right[taken, np.arange(right.shape[1])].mean())


def summary(sets: Sequence[SetResult]) -> dict[str, Any]:
    """Sums the sets up.

    Args:
        sets: Those measured so far.

    Returns:
        For each orderer its mean accuracy and its gain over the mean of all orders, with the interval over sets; and
        the stability report.
    """
    right = [outcomes(measured) for measured in sets]
    orders = [[Selection.of(*order) for order in measured["orders"]] for measured in sets]
    stability = stability_report(orders, right)
    chance = np.array([own.mean for own in stability.sets])
    found: dict[str, Any] = {
        "mean over orders": float(chance.mean()),
        "worst order": float(np.mean([own.lowest for own in stability.sets])),
        "best order": float(np.mean([own.highest for own in stability.sets])),
        "stability": {
            "spread": asdict(stability.spread),
            "noise": stability.noise,
            "beyond_noise": stability.beyond_noise,
            "p": stability.p,
            "verdict": stability.verdict,
        },
        "orderers": {},
    }
    for name in sets[0]["taken"]:
        own = np.array([taken_accuracy(measured, name) for measured in sets])
        found["orderers"][name] = {"accuracy": float(own.mean()), "gain": asdict(paired_bootstrap(own, chance))}
    return found


def shown_set(measured: SetResult) -> str:
    """Puts a set into a line.

    Args:
        measured: One set.

    Returns:
        Accuracies in percent.
    """
    accuracy = 100 * outcomes(measured).mean(axis=1)
    taken = ", ".join(f"{name} {100 * taken_accuracy(measured, name):.1f}" for name in measured["taken"])
    return f"orders {accuracy.min():.1f} to {accuracy.max():.1f}, mean {accuracy.mean():.1f}; {taken}"


def summary_lines(found: Mapping[str, Any]) -> list[str]:
    """Lays the summary out.

    Args:
        found: From `summary`.

    Returns:
        Lines of Markdown.
    """
    lines = ["| orderer | accuracy, % | minus the mean over orders, points |", "|---|---|---|"]
    lines += [f"| ({name}) | {100 * found[name]:.1f} | |" for name in ("mean over orders", "worst order", "best order")]
    for name, own in found["orderers"].items():
        delta, low, high = (100 * own["gain"][end] for end in ("delta", "low", "high"))
        lines.append(f"| {name} | {100 * own['accuracy']:.1f} | {delta:+.1f} [{low:+.1f}, {high:+.1f}] |")
    return [*lines, "", found["stability"]["verdict"]]


def main(
    *,
    task: Annotated[str, typer.Option(help="The name of a task.")] = "sst2",
    sets: Annotated[int, typer.Option(min=1, help="Random sets of demonstrations.")] = 10,
    shots: Annotated[int, typer.Option(help="Demonstrations in a set.")] = OrderStudyConfig.shots,
    permutations: Annotated[int, typer.Option(help="Orders of a set.")] = OrderStudyConfig.permutations,
    queries: Annotated[int, typer.Option(help="Test queries.")] = OrderStudyConfig.queries,
    dev: Annotated[int, typer.Option(help="Dev queries that the best order is chosen by.")] = OrderStudyConfig.dev,
    probes: Annotated[int, typer.Option(help="Dev inputs as probes; 0: written by the LM.")] = OrderStudyConfig.probes,
    seed: Annotated[int, typer.Option(help="Of sets, orders and written probes.")] = OrderStudyConfig.seed,
    out: Annotated[Path, typer.Option(help="Where the result goes.")] = HERE / "results" / "order.json",
) -> None:
    """Runs the study."""
    config = OrderStudyConfig(
        shots=shots, permutations=permutations, queries=queries, dev=dev, probes=probes, seed=seed
    )
    workspace = Workspace(studied_task(task))
    study = OrderStudy(workspace, config, out=out, progress=RichProgress())
    study.run(sets)
    print("\n".join(summary_lines(study.result["summary"])))


if __name__ == "__main__":
    typer.run(main)
