"""A Haystack pipeline with demonstrations in its prompt: haystack_pipeline.py ARTIFACT TASK.toml TEXT."""

import sys

from haystack import Pipeline
from haystack.components.builders import PromptBuilder

from selector.adapters.haystack import DemonstrationSelector

TEMPLATE = "{% for d in demonstrations %}Review: {{ d.text }}\nVerdict: {{ d.label }}\n\n{% endfor %}Review: {{ text }}"
artifact, task, text = sys.argv[1:]
pipeline = Pipeline()
pipeline.add_component("demonstrations", DemonstrationSelector(artifact, task, k=3))
pipeline.add_component("prompt", PromptBuilder(TEMPLATE, required_variables=["demonstrations", "text"]))
pipeline.connect("demonstrations.demonstrations", "prompt.demonstrations")
print(pipeline.run({"demonstrations": {"text": text}, "prompt": {"text": text}})["prompt"]["prompt"])
print(pipeline.dumps())  # Pipeline.loads(..., allowed_modules=["selector.adapters.haystack"]) reads it back
