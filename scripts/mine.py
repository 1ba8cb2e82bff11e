"""Mines candidates for a task with the defaults; the command `shotsmith mine` has all options."""

from pathlib import Path

import typer

from policies.cli.app import errors_as_one_line
from policies.mining import MiningConfig
from policies.stages import mine_candidates
from selector.progress import RichProgress
from selector.workspace import Workspace


def main(task: str, out: Path) -> None:
    """Scores candidate demonstrations of TASK one-shot; the rows go to OUT."""
    with errors_as_one_line():
        print(mine_candidates(Workspace.open(task), out, config=MiningConfig(), progress=RichProgress()))


if __name__ == "__main__":
    typer.run(main)
