"""The command line: `shotsmith`. Importing this package registers every command."""

from policies.cli import answering, judging, looking, policy_training, prompting, reasoning, training
from policies.cli.app import app, main

__all__ = ["answering", "app", "judging", "looking", "main", "policy_training", "prompting", "reasoning", "training"]
