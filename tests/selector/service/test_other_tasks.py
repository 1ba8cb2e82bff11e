"""Tests of tasks without shared labels: choices of each query's own, and written answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from selector.inference.engine import InferenceEngine
from selector.retrieval.encoder import SentenceEncoder
from selector.testing import ToyLanguageModel
from selector.workspace import Workspace

COMMON = """
[data]
train = "train.jsonl"
test_size = 2
dev_size = 2
reward_size = 2
[encoder]
model = "tiny"
"""
CHOICES = """
[fields]
inputs = ["text", "topic"]
label = "answer"
choices = ["options"]
[prompt]
template = "{topic}: {text}\\nA:{label}"
"""
WRITTEN = """
[fields]
inputs = ["text", "topic"]
label = "answer"
[prompt]
template = "{topic}: {text}\\nA:{label}"
answer_tokens = 3
"""


def workspace_of(folder: Path, toml: str, encoder: SentenceEncoder) -> Workspace:
    rows = [
        {"topic": f"topic {at}", "text": f"where is {at}", "options": [f"left {at}", "right"], "answer": "right"}
        for at in range(20)
    ]
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (folder / "task.toml").write_text(COMMON + toml, encoding="utf-8")
    workspace = Workspace.open(folder / "task.toml", use_store=False)
    task = workspace.task
    workspace.__dict__["encoder"] = encoder
    workspace.__dict__["engine"] = InferenceEngine(ToyLanguageModel(), task.template, task.pool)
    return workspace


def test_choices_belong_to_queries(make_service, ask, tmp_path: Path, shared_encoder: SentenceEncoder) -> None:
    """Guards against probabilities of labels that a query does not have, and choices that are lost on the way."""
    service = make_service(workspace=workspace_of(tmp_path, CHOICES, shared_encoder))
    query = {"fields": {"topic": "a topic", "text": "where is it"}, "choices": ["up", "down", "right"]}
    other = {**query, "choices": ["north", "south"]}
    reply = ask.one(service, "POST", "/predict", {"queries": [query, other], "shots": 2}).json()
    assert [set(own["probabilities"]) for own in reply["predictions"]] == [{"up", "down", "right"}, {"north", "south"}]
    explained = ask.one(service, "POST", "/explain", {"query": query, "shots": 2}).json()
    assert all(one["influence"] is not None for one in explained["demonstrations"])
    missing = ask.one(service, "POST", "/predict", {"queries": [{"fields": query["fields"]}]})
    assert missing.status_code == 422
    example = {"fields": query["fields"], "label": "up", "choices": ["up", "down"]}
    assert ask.one(service, "POST", "/pool/examples", example).status_code == 201
    assert ask.one(service, "POST", "/pool/examples", example | {"label": "left"}).status_code == 422
    assert ask.one(service, "POST", "/select", {"queries": [query]}).status_code == 200


def test_written_answers_have_no_probabilities(
    make_service, ask, tmp_path: Path, shared_encoder: SentenceEncoder
) -> None:
    """Guards against an explanation that fails, or shows an influence that nobody has measured."""
    service = make_service(workspace=workspace_of(tmp_path, WRITTEN, shared_encoder))
    query = {"fields": {"topic": "a topic", "text": "where is it"}}
    explained = ask.one(service, "POST", "/explain", {"query": query, "shots": 2}).json()
    assert explained["prediction"]["probabilities"] == {}
    assert [one["influence"] for one in explained["demonstrations"]] == [None, None]
    (answer,) = ask.one(service, "POST", "/predict", {"queries": [query], "shots": 2}).json()["predictions"]
    assert answer["label"] == explained["prediction"]["label"]
    refused = ask.one(service, "POST", "/select", {"queries": [query], "orderer": "mdl"})
    assert refused.status_code == 422


@pytest.mark.parametrize("kind", ["choices", "written"])
def test_fields_reach_encoders_in_the_tasks_order(
    make_service, ask, tmp_path: Path, shared_encoder: SentenceEncoder, kind: str
) -> None:
    """Guards against a query whose JSON names its fields in another order and so is embedded as another text."""
    toml = CHOICES if kind == "choices" else WRITTEN
    service = make_service(with_lm=False, workspace=workspace_of(tmp_path, toml, shared_encoder))
    choices = {"choices": ["a", "b"]} if kind == "choices" else {}
    one_way = {"fields": {"topic": "topic 3", "text": "where are 3"}, **choices}
    other_way = {"fields": {"text": "where are 3", "topic": "topic 3"}, **choices}
    replies = [ask.one(service, "POST", "/select", {"queries": [query]}).json() for query in (one_way, other_way)]
    assert replies[0] == replies[1]
    assert service.answerer.fields == tuple(service.answerer.pool[0].fields)
