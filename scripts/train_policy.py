"""Trains a policy over a retriever and exports it; `shotsmith train-policy` and `export` have all options."""

from pathlib import Path

import typer

from policies.cli.app import errors_as_one_line
from policies.export import export_policy
from policies.policy_config import PolicyTrainingConfig
from policies.stages import train_policy_on
from selector.progress import RichProgress
from selector.workspace import Workspace


def main(task: str, retriever: Path, run: Path, artifact: Path) -> None:
    """Trains a policy for TASK over RETRIEVER in the folder RUN and writes it to ARTIFACT."""
    with errors_as_one_line():
        config = PolicyTrainingConfig()
        train_policy_on(Workspace.open(task), run, retriever=retriever, config=config, progress=RichProgress())
        print(export_policy(run, artifact))


if __name__ == "__main__":
    typer.run(main)
