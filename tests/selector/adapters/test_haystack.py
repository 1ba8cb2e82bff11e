"""Tests of the Haystack component in Haystack's own pipelines."""

from __future__ import annotations

from pathlib import Path

import pytest
from haystack import Pipeline
from haystack.components.builders import PromptBuilder
from haystack.core.errors import DeserializationError

from selector.adapters.haystack import DemonstrationSelector
from selector.adapters.source import DemonstrationSource
from selector.errors import ArtifactError, UsageError
from selector.testing import planted_examples

TEMPLATE = "{% for d in demonstrations %}{{ d.text }} => {{ d.answer }}\n{% endfor %}{{ text }} =>"
TEXT = planted_examples(1, seed=3, prefix="query")[0].fields["text"]


@pytest.fixture
def pipeline(planted_policy: Path, planted_task: Path) -> Pipeline:
    made = Pipeline()
    made.add_component("demos", DemonstrationSelector(str(planted_policy), str(planted_task), label="answer", k=2))
    made.add_component("prompt", PromptBuilder(TEMPLATE, required_variables=["demonstrations", "text"]))
    made.connect("demos.demonstrations", "prompt.demonstrations")
    return made


def ask(pipeline: Pipeline) -> str:
    prompt: str = pipeline.run({"demos": {"text": TEXT}, "prompt": {"text": TEXT}})["prompt"]["prompt"]
    return prompt


def test_a_prompt_holds_what_the_policy_chose(pipeline: Pipeline, planted_policy: Path, planted_task: Path) -> None:
    """Guards content and order on the way from the component to the prompt."""
    rows = DemonstrationSource.load(planted_policy, planted_task, label="answer").rows([{"text": TEXT}], 2)[0]
    assert ask(pipeline) == "".join(f"{row['text']} => {row['answer']}\n" for row in rows) + f"{TEXT} =>"


def test_a_pipeline_comes_back_from_yaml(pipeline: Pipeline) -> None:
    """Guards serialisation: the same answers, and nothing loaded before the pipeline is warmed up."""
    written = pipeline.dumps()
    assert "artifact:" in written
    with pytest.raises(DeserializationError):  # Haystack imports foreign components only where the caller allows it
        Pipeline.loads(written)
    again = Pipeline.loads(written, allowed_modules=["selector.adapters.haystack"])
    assert again.get_component("demos").to_dict() == pipeline.get_component("demos").to_dict()
    assert again.get_component("demos")._source is None
    assert ask(again) == ask(pipeline)


def test_warming_up_twice_loads_once(pipeline: Pipeline) -> None:
    """Guards against models that are loaded anew with every run."""
    component = pipeline.get_component("demos")
    component.warm_up()
    first = component._source
    component.warm_up()
    assert component._source is first
    assert len(component.run(text=TEXT)["demonstrations"]) == 2


def test_choices_are_inputs_where_they_are_wanted(retriever: Path, choice_task: Path) -> None:
    """Guards multiple-choice tasks: Haystack refuses an input that the component has not declared."""
    made = Pipeline()
    made.add_component("demos", DemonstrationSelector(str(retriever), str(choice_task), choices=["options"], k=2))
    again = Pipeline.loads(made.dumps(), allowed_modules=["selector.adapters.haystack"])
    found = again.run({"demos": {"text": TEXT, "options": ["good", "bad"]}})["demos"]["demonstrations"]
    assert [row["choices"] for row in found] == [["fresh", "rotten"]] * 2
    with pytest.raises(UsageError, match="'letters'"):
        DemonstrationSelector(str(retriever), str(choice_task), choices=["letters"]).warm_up()


def test_mistakes_are_named(planted_policy: Path, planted_task: Path, tmp_path: Path) -> None:
    """Guards inputs that the task does not have, and a folder that is no artifact; neither fails before it must."""
    wrong = DemonstrationSelector(str(planted_policy), str(planted_task), inputs=["question"])
    with pytest.raises(UsageError, match="'question'"):
        wrong.warm_up()
    with pytest.raises(ArtifactError):
        DemonstrationSelector(str(tmp_path), str(planted_task)).run(text=TEXT)
