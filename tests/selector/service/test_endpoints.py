"""Tests of the endpoints: what they answer, and that every refusal has one shape."""

from __future__ import annotations

from typing import Any

import pytest

from selector.inference.engine import InferenceEngine
from selector.lm.base import Usage
from selector.ordering.named import ORDERERS
from selector.service.answering import FREE_ORDERERS
from selector.strategies.exported import load_policy
from selector.types import Example


def test_a_policy_selects_as_in_a_program(make_service, ask, make_workspace, planted_policy) -> None:
    """Guards against a service that chooses otherwise than `shotsmith select`: field order, shots, or uid."""
    pool = make_workspace().task.pool
    selector = load_policy(planted_policy, pool)
    queries = [Example(f"q{number}", ask.query(number)["fields"]) for number in range(3)]
    expected = [[pool[index].uid for index in own.indices] for own in selector.select(queries, 3)]
    reply = ask.one(make_service(planted_policy), "POST", "/select", ask.selection(0, 1, 2, shots=3))
    assert ask.uids(reply) == expected
    assert reply.json()["method"] == "policy"
    assert reply.json()["pool_size"] == len(pool)


def test_selecting_needs_no_language_model(make_service, ask, make_workspace, planted_policy) -> None:
    """Guards against a start that loads the language model although nothing asks it."""
    workspace = make_workspace()
    del workspace.__dict__["engine"]
    service = make_service(planted_policy, workspace=workspace)
    methods = ask.one(service, "GET", "/about").json()["methods"]
    requests = [("POST", "/select", ask.selection(method=method, shots=2)) for method in methods]
    for method, reply in zip(methods, ask.at_once(service, *requests), strict=True):
        assert len(ask.uids(reply)[0]) == (0 if method == "zero" else 2), method
    assert "engine" not in workspace.__dict__


def test_a_row_of_the_pool_never_sees_itself(make_service, ask) -> None:
    """Guards against a query that is shown its own row, by text or by uid."""
    service = make_service()
    row = service.answerer.pool[5]
    body = {"queries": [{"fields": dict(row.fields)}, {**ask.query(), "uid": row.uid}], "shots": 37}
    for shown in ask.uids(ask.one(service, "POST", "/select", body)):
        assert len(shown) == 37
        assert row.uid not in shown


def test_orders(make_service, ask) -> None:
    """Guards against an order of other demonstrations than those sent, or an orderer that is passed over."""
    service = make_service()
    (nearest_last,) = ask.uids(ask.one(service, "POST", "/select", ask.selection(shots=4)))
    for orderer, expected in {
        "given": nearest_last[::-1],
        "reverse": nearest_last,
        "nearest-last": nearest_last,
        "nearest-first": nearest_last[::-1],
    }.items():
        body = ask.selection(demonstrations=[nearest_last[::-1]], orderer=orderer)
        assert ask.uids(ask.one(service, "POST", "/order", body)) == [expected], orderer
    body = ask.selection(demonstrations=[nearest_last], orderer="mdl")
    assert sorted(ask.uids(ask.one(service, "POST", "/order", body))[0]) == sorted(nearest_last)
    turned = ask.one(service, "POST", "/select", ask.selection(shots=4, orderer="reverse"))
    assert ask.uids(turned) == [nearest_last[::-1]]


@pytest.mark.parametrize("orderer", ORDERERS)
def test_an_order_that_was_searched_for_is_remembered_until_the_pool_changes(
    make_service, ask, monkeypatch, orderer: str
) -> None:
    """Guards against a search at each request, an order that a new one would not find, and memory without bounds."""
    service, fresh = make_service(), make_service()
    lm = service.answerer.engine.lm.model
    bodies = [ask.selection(number, shots=3, orderer=orderer, method="random") for number in range(3)]

    def answers(own: Any) -> list[Any]:
        return [ask.uids(ask.one(own, "POST", "/select", body)) for body in bodies]

    first, asked = answers(service), lm.usage
    assert (asked != Usage()) == (orderer not in FREE_ORDERERS)
    assert answers(service) == first
    if orderer != "mdl":  # it orders for each query
        assert lm.usage == asked
    assert answers(make_service()) == first
    for own in (service, fresh):
        ask.one(own, "DELETE", f"/pool/examples/{own.answerer.pool[0].uid}")
    later = answers(fresh)
    assert answers(service) == later
    monkeypatch.setattr("selector.service.remembering.MOST_CHARACTERS", 1)
    assert answers(service) == later
    assert not service.answerer._orderers


def test_predictions_are_the_engines(make_service, ask) -> None:
    """Guards against probabilities of other demonstrations than those that are named beside them."""
    service = make_service()
    answered = ask.one(service, "POST", "/predict", ask.selection(0, 1, shots=3)).json()["predictions"]
    answerer = service.answerer
    for number, own in enumerate(answered):
        query = answerer.query(ask.query(number)["fields"])
        (chosen,) = answerer.selector("nearest").select([query], 3)
        (expected,) = answerer.engine.predict([query], [chosen])
        assert own["label"] == expected.label
        assert own["probabilities"] == pytest.approx(expected.probabilities)
        assert [one["uid"] for one in own["demonstrations"]] == [answerer.pool[at].uid for at in chosen.indices]


def test_batch_calibration_knows_no_other_requests(make_service, ask, make_workspace) -> None:
    """Guards against an answer that depends on who else asks at that moment."""
    workspace = make_workspace()
    task = workspace.task
    object.__setattr__(task.lm, "calibration", "batch")
    engine = workspace.engine
    workspace.__dict__["engine"] = InferenceEngine(engine.lm, task.template, task.pool, calibration="batch")
    service = make_service(workspace=workspace)
    requests = [("POST", "/predict", ask.selection(number, number + 1, shots=2)) for number in range(4)]
    alone = [ask.one(service, *request).json()["predictions"] for request in requests]
    together = [reply.json()["predictions"] for reply in ask.at_once(service, *requests)]
    assert together == alone
    # One query alone has no batch: its distribution would be flat.
    explained = ask.one(service, "POST", "/explain", {"query": ask.query(), "shots": 2}).json()
    assert len(set(explained["prediction"]["probabilities"].values())) == 2


def test_an_explanation_holds_together(make_service, ask) -> None:
    """Guards against rivals that were chosen, influence of another answer, and a prompt in another order."""
    service = make_service()
    answerer = service.answerer
    reply = ask.one(service, "POST", "/explain", {"query": ask.query(), "shots": 3}).json()
    shown = reply["demonstrations"]
    by_uid = {example.uid: position for position, example in enumerate(answerer.pool)}
    positions = [by_uid[one["uid"]] for one in shown]
    query = answerer.query(ask.query()["fields"])
    template = answerer.task.template
    assert reply["prompt"] == template.prompt([answerer.pool[at] for at in positions], query)
    rows = answerer.nearest.rows
    likeness = rows[positions] @ rows.T
    likeness[:, positions] = -2
    for place, one in enumerate(shown):
        assert one["similarity"] == pytest.approx(one["score"], abs=1e-5)  # nearest ranks by it
        assert by_uid[one["rival"]["uid"]] == int(likeness[place].argmax())
        assert one["rival"]["likeness"] == pytest.approx(float(likeness[place].max()), abs=1e-5)
        assert one["rival"]["similarity"] < one["similarity"]
    gold = Example(query.uid, query.fields, reply["prediction"]["label"])
    from selector.types import Selection

    without_first = Selection.of(*positions[1:])
    whole, less = answerer.engine.gold_logprobs([gold, gold], [Selection.of(*positions), without_first])
    assert shown[0]["influence"] == pytest.approx(float(whole - less))


@pytest.mark.parametrize("path", ["/predict", "/explain"])
def test_a_policy_is_held_to_its_language_model(make_service, ask, make_workspace, planted_policy, path: str) -> None:
    """Guards against answers of a policy behind a model that it was not trained for, unless forced."""
    from selector.testing import ToyLanguageModel

    class Other(ToyLanguageModel):
        fingerprint = "another"

    workspace = make_workspace()
    task = workspace.task
    workspace.__dict__["engine"] = InferenceEngine(Other(), task.template, task.pool)
    body = ask.selection() if path == "/predict" else {"query": ask.query()}
    service = make_service(planted_policy, workspace=workspace)
    refused = ask.one(service, "POST", path, body)
    assert refused.status_code == 409
    assert "language model" in ask.error(refused)["found"]
    assert ask.one(service, "POST", path, {**body, "method": "nearest"}).status_code == 200
    forced = ask.one(make_service(planted_policy, workspace=workspace, force=True), "POST", path, body)
    assert forced.status_code == 200


def test_without_a_language_model(make_service, ask) -> None:
    """Guards --no-lm: what needs the model says so, and the rest works."""
    service = make_service(with_lm=False)
    for path, body in {
        "/predict": ask.selection(),
        "/select": ask.selection(orderer="mdl"),
        "/order": ask.selection(demonstrations=[["x"]], orderer="globale"),
    }.items():
        refused = ask.one(service, "POST", path, body)
        assert refused.status_code == 409
        assert "without" in ask.error(refused)["found"]
    explained = ask.one(service, "POST", "/explain", {"query": ask.query(), "shots": 2}).json()
    assert explained["prediction"] is None
    assert [one["influence"] for one in explained["demonstrations"]] == [None, None]
    about = ask.one(service, "GET", "/about").json()
    assert about["language_model"] is False
    assert "mdl" not in about["orderers"]


JSON = {"content-type": "application/json"}
REFUSED: list[tuple[str, dict[str, Any], int]] = [
    ("not JSON", {"content": b"{", "headers": JSON}, 422),
    ("not UTF-8", {"content": b'{"queries": "\xff"}', "headers": JSON}, 400),
    ("deep", {"content": b"[" * 100_000, "headers": JSON}, 400),
    ("a huge number", {"content": b"9" * 10_000, "headers": JSON}, 400),
    ("a form", {"data": {"queries": "x"}}, 415),
    ("no queries", {"json": {"queries": []}}, 422),
    ("too many queries", {"json": {"queries": [{"fields": {"text": "x"}}] * 257}}, 422),
    ("a long text", {"json": {"queries": [{"fields": {"text": "x" * 20_001}}]}}, 422),
    ("a wrong type", {"json": {"queries": [{"fields": {"text": 3}}]}}, 422),
    ("shots as text", {"json": {"queries": [{"fields": {"text": "x"}}], "shots": "4"}}, 422),
    ("negative shots", {"json": {"queries": [{"fields": {"text": "x"}}], "shots": -1}}, 422),
    ("too many shots", {"json": {"queries": [{"fields": {"text": "x"}}], "shots": 65}}, 422),
    ("more than the pool", {"json": {"queries": [{"fields": {"text": "x"}}], "shots": 64}}, 422),
    ("an unknown field", {"json": {"queries": [{"fields": {"text": "x", "other": "y"}}]}}, 422),
    ("a missing field", {"json": {"queries": [{"fields": {"other": "y"}}]}}, 422),
    ("an unknown key", {"content": rb'{"queries": [{"fields": {"text": "x"}}], "\ud800": 1}', "headers": JSON}, 422),
    ("half a surrogate", {"content": rb'{"queries": [{"fields": {"text": "\ud800"}}]}', "headers": JSON}, 422),
    (
        "half a surrogate as uid",
        {"content": rb'{"queries": [{"fields": {"text": "x"}, "uid": "\ud800"}]}', "headers": JSON},
        422,
    ),
    (
        "half a surrogate as method",
        {"content": rb'{"queries": [{"fields": {"text": "x"}}], "method": "\ud800"}', "headers": JSON},
        422,
    ),
    ("choices", {"json": {"queries": [{"fields": {"text": "x"}, "choices": ["a"]}]}}, 422),
    ("an unknown method", {"json": {"queries": [{"fields": {"text": "x"}}], "method": "oracle"}}, 422),
    ("a path", {"json": {"queries": [{"fields": {"text": "x"}}], "method": "../../etc"}}, 422),
    ("an unknown orderer", {"json": {"queries": [{"fields": {"text": "x"}}], "orderer": "best"}}, 422),
]


@pytest.mark.parametrize(("request_", "status"), [one[1:] for one in REFUSED], ids=[one[0] for one in REFUSED])
def test_wrong_requests_are_refused_in_one_shape(make_service, ask, request_, status: int) -> None:
    """Guards against a 500, a traceback or another shape for what a client can get wrong."""
    service = make_service(with_lm=False)
    reply = ask.raw(service, "POST", "/select", **request_)
    assert reply.status_code == status, reply.text
    ask.error(reply)
    assert ask.one(service, "POST", "/select", ask.selection(shots=1)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/select", 405),
        ("GET", "/../../etc/passwd", 404),
        ("GET", "/page/%2e%2e/page.js", 404),
        ("DELETE", "/pool/examples/..%2f..%2fetc%2fpasswd", 404),
        ("DELETE", "/pool/examples/%00%ff", 404),
        ("GET", "/pool/examples?limit=9999", 422),
        ("GET", "/docs", 404),
    ],
)
def test_wrong_paths_are_refused_in_one_shape(make_service, ask, method: str, path: str, status: int) -> None:
    """Guards against the framework's own error shape, and against a path that reaches a file."""
    reply = ask.raw(make_service(with_lm=False), method, path)
    assert reply.status_code == status
    ask.error(reply)


def test_a_mistake_in_the_request_is_named(make_service, ask) -> None:
    """Guards against a refusal from which nobody learns what to correct."""
    service = make_service(with_lm=False)
    cut = ask.error(ask.raw(service, "POST", "/select", content=b'{"queries": ', headers=JSON))
    assert cut["found"] == "the body is no JSON from its character 12 on"
    body = {"queries": [{"fields": {"text": 3}}], "shots": "4"}
    typed = ask.error(ask.one(service, "POST", "/select", body))
    assert typed["found"] == "body.queries.0.fields.text is 3"
    assert "2 mistakes" in typed["remedy"]
    named = ask.error(ask.one(service, "POST", "/select", ask.selection(method="oracle")))
    assert "nearest" in named["expected"]


def test_a_mistake_of_ours_tells_nothing(make_service, ask, caplog) -> None:
    """Guards against a traceback, or a path of the server, in a reply; and a worker that dies of it."""
    service = make_service(with_lm=False)

    class Broken:
        def select(self, queries: object, k: int) -> object:
            raise ZeroDivisionError("/secret/path")

    service.answerer._selectors["nearest"], whole = Broken(), service.answerer.selector("nearest")
    reply = ask.one(service, "POST", "/select", ask.selection())
    assert reply.status_code == 500
    assert "ZeroDivisionError" in ask.error(reply)["found"]
    assert "secret" not in reply.text
    service.answerer._selectors["nearest"] = whole
    assert ask.one(service, "POST", "/select", ask.selection()).status_code == 200


def test_a_failure_of_the_server_is_logged_and_told_without_details(make_service, ask, caplog) -> None:
    """Guards against a file name of the server in a reply, and a log that says nothing."""
    from selector.errors import ModelLoadError

    service = make_service(with_lm=False)

    class Gone:
        def select(self, queries: object, k: int) -> object:
            raise ModelLoadError("/secret/weights are gone", expected="weights", remedy="Fetch them.")

    service.answerer._selectors["nearest"] = Gone()
    reply = ask.one(service, "POST", "/select", ask.selection())
    assert reply.status_code == 503
    assert reply.headers["retry-after"]
    assert "secret" not in reply.text
    assert "secret" in caplog.text


def test_metrics_count(make_service, ask) -> None:
    """Guards against a metric that clients can blow up with made-up paths, and batches that nobody counts."""
    first, second = make_service(with_lm=False), make_service(with_lm=False)
    ask.at_once(first, *[("POST", "/select", ask.selection(0, 1))] * 3, ("GET", "/made-up"), ("GET", "/made/up"))
    text = ask.one(first, "GET", "/metrics").text
    assert 'shotsmith_requests_total{path="/select",status="200"} 3.0' in text
    assert 'shotsmith_requests_total{path="other",status="404"} 2.0' in text
    assert "made" not in text
    asked = ask.raw(first, "POST", "/select", content=b"", headers={"content-type": "text/plain"})
    assert asked.status_code == 415
    assert 'path="/select",status="415"' in ask.one(first, "GET", "/metrics").text
    assert "shotsmith_batch_queries_sum 6.0" in text
    assert "shotsmith_pool_size 38.0" in text
    assert '"/select"' not in ask.one(second, "GET", "/metrics").text


def test_the_schema_tells_limits_and_refusals(make_service, ask) -> None:
    """Guards against a schema from which a client cannot learn what is taken."""
    schema = ask.one(make_service(with_lm=False), "GET", "/openapi.json").json()
    assert {"/select", "/order", "/predict", "/explain", "/healthz", "/metrics", "/pool/examples"} <= set(
        schema["paths"]
    )
    select = schema["components"]["schemas"]["SelectRequest"]
    assert select["properties"]["queries"]["maxItems"] == 256
    assert select["properties"]["shots"]["anyOf"][0]["maximum"] == 64
    assert select["additionalProperties"] is False
    assert {"413", "422", "429"} <= set(schema["paths"]["/select"]["post"]["responses"])
    assert "HTTPValidationError" not in schema["components"]["schemas"]
