"""Trains the EPR retriever with the defaults; the command `shotsmith train-retriever` has all options."""

from pathlib import Path

import typer

from policies.cli.app import errors_as_one_line
from policies.retriever_config import RetrieverTrainingConfig
from policies.stages import train_retriever_on
from selector.progress import RichProgress
from selector.workspace import Workspace


def main(task: str, mined: Path, out: Path) -> None:
    """Trains a retriever for TASK on what was MINED; the folder goes to OUT."""
    with errors_as_one_line():
        config = RetrieverTrainingConfig()
        print(train_retriever_on(Workspace.open(task), mined, out, config=config, progress=RichProgress()))


if __name__ == "__main__":
    typer.run(main)
