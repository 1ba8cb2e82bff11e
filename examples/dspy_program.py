"""A DSPy program that sees other demonstrations for every question: dspy_program.py ARTIFACT TASK.toml TEXT."""

import sys

import dspy
from dspy.utils.dummies import DummyLM

from selector.adapters.dspy import SelectedDemonstrations
from selector.adapters.source import DemonstrationSource

artifact, task, text = sys.argv[1:]
lm = DummyLM([{"label": "fresh"}])  # answers "fresh" without a network; dspy.LM("openai/gpt-4o-mini") asks a real model
dspy.configure(lm=lm)
program = SelectedDemonstrations(dspy.Predict("text -> label"), DemonstrationSource.load(artifact, task), k=3)
print(program(text=text).label)
print(*(message["content"] for message in lm.history[-1]["messages"]), sep="\n---\n")
