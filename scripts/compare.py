"""Compares methods on a task; the command `shotsmith compare` has all options."""

from pathlib import Path

import rich
import typer

from policies.cli.app import errors_as_one_line
from policies.comparison import ComparisonPlan, compare_methods
from selector.evaluation.tables import result_table
from selector.progress import RichProgress
from selector.workspace import Workspace


def main(task: str, out: Path, methods: list[str]) -> None:
    """Compares METHODS (names or folders; the first is the baseline) on the test queries of TASK; files go to OUT."""
    with errors_as_one_line():
        plan = ComparisonPlan(methods=tuple(methods), baseline=methods[0])
        outcome = compare_methods(Workspace.open(task), out, plan=plan, progress=RichProgress())
        rich.print(result_table(outcome.comparison))


if __name__ == "__main__":
    typer.run(main)
