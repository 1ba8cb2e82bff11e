"""Tests of what else can be served: a retriever, a policy for a whole task, one that reads the language model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from selector.errors import ArtifactMismatchError, LanguageModelAbsentError, UnknownNameError
from selector.learned.corpus_artifact import write_corpus_artifact
from selector.learned.corpus_network import CorpusNetworkConfig, CorpusQNetwork
from selector.learned.corpus_observation import CANDIDATE_FEATURES, LM_FEATURES, STATE_FEATURES
from selector.learned.manifest import CORPUS, CORPUS_FEATURES, Manifest
from selector.retrieval.encoder import BFLOAT16
from selector.service.answering import Answerer
from selector.strategies.learned import LearnedSelector
from selector.strategies.retriever import RetrieverSelector
from selector.workspace import Workspace


@pytest.fixture
def task_policy(tmp_path: Path, tiny_encoder: Path, make_workspace: Callable[[], Workspace]) -> Callable[..., Path]:
    """Writes an untrained policy for a whole task."""

    def write(*, lm_features: bool) -> Path:
        workspace = make_workspace()
        own = (*CANDIDATE_FEATURES, *LM_FEATURES) if lm_features else CANDIDATE_FEATURES
        sizes = {"width": 32, "state": len(STATE_FEATURES), "features": len(own), "hidden": 16, "dropout": 0.0}
        with torch.random.fork_rng():
            torch.manual_seed(3)
            network = CorpusQNetwork(CorpusNetworkConfig(**sizes))  # type: ignore[arg-type]
            network.norm.show(torch.rand(100, len(STATE_FEATURES) + len(own)))
        task = workspace.task
        fingerprints = {"pool": task.pool.fingerprint, "encoder": workspace.encoder.fingerprint}
        fingerprints |= {"template": task.template.fingerprint, "language model": workspace.engine.lm.fingerprint}
        features = (*CORPUS_FEATURES, *own[len(CANDIDATE_FEATURES) :])
        rest = {"kind": CORPUS, "features": features, "candidates": tuple(range(8))}
        manifest = Manifest(3, 8, False, False, sizes, str(tiny_encoder), fingerprints, **rest)  # type: ignore[arg-type]
        return write_corpus_artifact(tmp_path / f"policy-{lm_features}", manifest, network)

    return write


def test_a_retriever_is_served_and_follows_the_pool(make_service, ask, retriever: Path) -> None:
    """Guards against a retriever that ranks by the task's encoder, or forgets how it reads demonstrations."""
    service = make_service(retriever, with_lm=False)
    assert ask.one(service, "GET", "/about").json()["methods"][0] == "retriever"
    row = {"fields": {"text": "the plot is warm indeed"}, "label": "fresh", "uid": "new"}
    for edits in ([], [("POST", "/pool/examples", row)], [("DELETE", "/pool/examples/new")]):
        ask.at_once(service, *edits)
        reply = ask.one(service, "POST", "/select", ask.selection(0, 1, shots=5))
        pool = service.answerer.pool
        queries = [service.answerer.query(ask.query(number)["fields"]) for number in (0, 1)]
        fresh = RetrieverSelector.load(retriever, pool).select(queries, 5)
        assert ask.uids(reply) == [[pool[index].uid for index in own.indices] for own in fresh]


@pytest.mark.parametrize("lm_features", [False, True])
def test_a_policy_for_a_whole_task_is_served(make_service, ask, task_policy, lm_features: bool) -> None:
    """Guards against one set for all that stays when one of its members is taken out of the pool."""
    service = make_service(task_policy(lm_features=lm_features))
    first, second = ask.uids(ask.one(service, "POST", "/select", ask.selection(0, 1, shots=3)))
    assert first == second
    assert ask.one(service, "DELETE", f"/pool/examples/{first[0]}").status_code == 200
    later, same = ask.uids(ask.one(service, "POST", "/select", ask.selection(0, 1, shots=3)))
    assert later == same
    assert first[0] not in later
    own = {"queries": [ask.query(0)]}
    (unsaid,) = ask.uids(ask.one(service, "POST", "/select", own))
    assert unsaid == later
    (four,) = ask.uids(ask.one(service, "POST", "/select", own | {"method": "nearest"}))
    assert len(four) == 4
    explained = ask.one(service, "POST", "/explain", {"query": ask.query(), "shots": 2})
    assert explained.status_code == 200


def test_a_policy_that_reads_the_language_model_is_refused_without_one(make_service, task_policy) -> None:
    """Guards against a service that starts and then refuses every request."""
    service_of = task_policy(lm_features=True)
    service = make_service(service_of)
    assert service.answerer.methods[0] == "policy"
    with pytest.raises(LanguageModelAbsentError):
        make_service(service_of, with_lm=False)
    with pytest.raises(LanguageModelAbsentError):
        make_service("greedy", with_lm=False)


def test_a_method_that_asks_the_language_model_is_served(make_service, ask) -> None:
    """Guards against a searched method that is not served although it was named at the start."""
    service = make_service("max-entropy")
    assert len(ask.uids(ask.one(service, "POST", "/select", ask.selection(shots=2)))[0]) == 2
    assert ask.one(service, "POST", "/select", ask.selection(method="mdl")).status_code == 422


def test_what_is_made_for_another_pool_is_refused(
    make_service, planted_policy: Path, make_workspace: Callable[[], Workspace]
) -> None:
    """Guards against a policy over data that it was not made for, in silence."""
    workspace = make_workspace()
    object.__setattr__(workspace.task, "pool", workspace.task.pool.subset(range(30)))
    with pytest.raises(ArtifactMismatchError):
        make_service(planted_policy, workspace=workspace, with_lm=False)
    assert make_service(planted_policy, workspace=workspace, with_lm=False, force=True)
    with pytest.raises(UnknownNameError):
        make_service(planted_policy / "missing")


def test_queries_are_embedded_in_bfloat16_and_the_pool_as_ever(
    make_workspace, retriever: Path, planted_policy: Path
) -> None:
    """Guards quick queries: for every method and behind every edit, by one copy of an encoder; rows stay."""
    for served in (retriever, planted_policy):
        answerer = Answerer(make_workspace(), served, with_lm=False, query_encoder=BFLOAT16)
        query = answerer.query({"text": "the plot is warm indeed"})
        for edit in (lambda: None, lambda own=answerer: own.add({"text": "a new one"}, "fresh", uid="new")):
            edit()
            for method in (answerer.methods[0], "nearest"):
                selector = answerer.selector(method)
                nearest = selector.nearest if isinstance(selector, LearnedSelector) else selector
                assert nearest.query_encoder.fingerprint == f"{nearest.encoder.fingerprint}:{BFLOAT16}"
                assert len(selector.select([query], 3)[0].indices) == 3
        copies = {id(one) for one in answerer._quick.encoders.values()}
        assert len(copies) == len(answerer._quick.encoders)
        with pytest.raises(UnknownNameError, match="onnx-int8"):
            Answerer(make_workspace(), served, with_lm=False, query_encoder="onnx-int4")
        plain = Answerer(make_workspace(), served, with_lm=False).selector("nearest")
        assert np.array_equal(answerer.selector("nearest").rows[: len(plain.rows)], plain.rows)
