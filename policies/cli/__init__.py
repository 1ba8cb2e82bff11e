"""The command line: `shotsmith`. Importing this package registers every command."""

from policies.cli import (
    answering,
    configuration,
    explaining,
    judging,
    looking,
    policy_training,
    presets,
    prompting,
    reasoning,
    serving,
    starting,
    training,
    warming,
)
from policies.cli.app import app, main

__all__ = [
    "answering",
    "app",
    "configuration",
    "explaining",
    "judging",
    "looking",
    "main",
    "policy_training",
    "presets",
    "prompting",
    "reasoning",
    "serving",
    "starting",
    "training",
    "warming",
]
