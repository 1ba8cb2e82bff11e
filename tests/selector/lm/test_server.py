"""Tests of the server backend against a small HTTP server in this process, faults included."""

from __future__ import annotations

import itertools
import json
import math
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from selector.errors import ServerCapabilityError, ServerError, ServerUnavailableError, UsageError
from selector.inference.engine import InferenceEngine
from selector.lm import server as server_module
from selector.lm.config import LanguageModelConfig
from selector.lm.loading import load_language_model
from selector.lm.server import PROBE, ServerLanguageModel
from selector.lm.server_api import ServerApi
from selector.lm.server_modes import UNMATCHED, completion_score, echoed_tokens, followed_score
from selector.testing import check_language_model, planted_pool, planted_template

WORDS = (" good", " bad", " fine", " plot", " the")


def words_of(text: str) -> list[str]:
    """The fake's tokens: words with the space before them."""
    starts = [0, *(at for at, sign in enumerate(text) if sign == " " and at), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(starts) if text[start:end]]


def distribution(before: str) -> dict[str, float]:
    """The fake's language model: probabilities that depend on how many words stand before."""
    weights = [1.0 + (len(words_of(before)) + place) % 5 for place in range(len(WORDS))]
    return {word: math.log(weight / (sum(weights) + 2.0)) for word, weight in zip(WORDS, weights, strict=True)}


def word_logprob(before: str, word: str) -> float:
    return distribution(before).get(word, -7.0)


class Fake:
    """An OpenAI-compatible server that can do what `modes` says.

    Args:
        modes: Of "echo", "prompt", "top" and "text", and of the ways in which servers differ: "bos" (`<s>` starts every
            text), "lost" (tokens lose the space before them, as SentencePiece's do), "offsets" (text_offset sums the
            lengths of all tokens, as vLLM's does), "minus" (text_offset is -1, as SGLang's), "mute" (no usage),
            "late" (a token's log-probability is told at the next one).
    """

    def __init__(self, *modes: str) -> None:
        self.modes = modes
        self.lost_behind = ""  # from this text on tokens lose their spaces
        self.requests: list[dict[str, Any]] = []
        self.headers: list[str | None] = []
        self.running = self.most_running = 0
        self.fault: Callable[[int], int | str | None] = lambda number: None
        self.lock = threading.Lock()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer(200, {"data": [{"id": "fake", "max_model_len": 99}]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path != "/v1/completions":
                    self.answer(404, {"error": "no such path"})
                    return
                with fake.lock:
                    fake.requests.append(body)
                    fake.headers.append(self.headers["Authorization"])
                    fake.running += 1
                    fake.most_running = max(fake.most_running, fake.running)
                    fault = fake.fault(len(fake.requests))
                try:
                    if isinstance(fault, int):
                        self.answer(fault, {"error": "a fault"})
                    elif isinstance(fault, str):
                        self.answer(200, fault)
                    else:
                        self.answer(200, fake.completion(body))
                finally:
                    with fake.lock:
                        fake.running -= 1

            def answer(self, status: int, content: Any) -> None:
                payload = (content if isinstance(content, str) else json.dumps(content)).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/v1"

    def completion(self, body: dict[str, Any]) -> dict[str, Any]:
        text, tokens = body["prompt"], words_of(body["prompt"])
        befores = ["".join(tokens[:place]) for place in range(len(tokens))]
        scores: list[float | None]
        scores = [word_logprob(before, token) for before, token in zip(befores, tokens, strict=True)]
        best = max(distribution(text), key=distribution(text).__getitem__)
        shown = [token.strip() for token in tokens] if self.loses_spaces(text) else tokens
        if "bos" in self.modes:
            shown, scores = ["<s>", *shown], [None, *scores]
        if "late" in self.modes:
            scores = [None, *scores[:-1]]
        scores[0] = None
        choice: dict[str, Any] = {"text": best * int(body["max_tokens"])}
        if "echo" in self.modes and body.get("echo"):
            choice["logprobs"] = {"tokens": [*shown, best], "token_logprobs": [*scores, -0.1]}
            if "offsets" in self.modes:
                choice["logprobs"]["text_offset"] = [0, *itertools.accumulate(map(len, shown))]
            if "minus" in self.modes:
                choice["logprobs"]["text_offset"] = [-1] * (len(shown) + 1)
        elif "prompt" in self.modes and "prompt_logprobs" in body:
            rows = [
                {"7": {"logprob": score, "decoded_token": token}} for token, score in zip(shown, scores, strict=True)
            ]
            choice["prompt_logprobs"] = [None, *rows[1:]]
        elif "top" in self.modes and body.get("logprobs"):
            named = sorted(distribution(text).items(), key=lambda item: -item[1])[: min(body["logprobs"], 4)]
            choice["logprobs"] = {"tokens": [best], "top_logprobs": [dict(named)]}
        usage = {"prompt_tokens": len(tokens), "total_tokens": len(tokens) + 1}
        return {"choices": [choice]} | ({} if "mute" in self.modes else {"usage": usage})

    def loses_spaces(self, text: str) -> bool:
        return "lost" in self.modes or bool(self.lost_behind and self.lost_behind in text)


@pytest.fixture
def fake(request: pytest.FixtureRequest) -> Iterator[Fake]:
    server = Fake(*getattr(request, "param", ("echo",)))
    yield server
    server.server.shutdown()
    server.server.server_close()
    server.thread.join()


def model_of(fake: Fake, **options: Any) -> ServerLanguageModel:
    return ServerLanguageModel(ServerApi(fake.address, tries=3, pause=0.001, timeout=5.0), **options)


def expected(prompt: str, completion: str) -> float:
    before, total = prompt, 0.0
    for word in words_of(completion):
        total += word_logprob(before, word)
        before += word
    return total


@pytest.mark.parametrize(
    ("fake", "mode"), [(("echo", "top"), "echo"), (("prompt", "top"), "prompt"), (("top",), "top")], indirect=["fake"]
)
def test_every_mode_gives_the_same_scores(fake: Fake, mode: str) -> None:
    """Guards boundaries and sums: what a completion is worth does not depend on how the server tells it."""
    lm = model_of(fake)
    assert (lm.mode, lm.context_length) == (mode, 99)
    prompts, completions = ["the plot is", "the plot", "the plot is"], [" good", " fine plot", " bad"]
    scores = lm.logprobs(prompts, completions)
    for prompt, completion, score in zip(prompts, completions, scores, strict=True):
        assert score.logprob == pytest.approx(expected(prompt, completion))
        assert score.tokens == len(words_of(completion))
        assert score.total_tokens == len(words_of(prompt + completion))
    assert lm.usage.calls == 3
    assert lm.count_tokens(["a b c", "a"]) == [3, 1]
    bounds = () if lm.exact else ("probabilities_sum_to_at_most_one", "scores_add_up")
    assert check_language_model(lm, tolerance=1e-9).keys() == {"an_empty_prompt_can_be_scored", *bounds}


@pytest.mark.parametrize(
    ("fake", "mode"),
    [
        (("echo", "bos"), "echo"),
        (("echo", "bos", "offsets"), "echo"),
        (("echo", "minus"), "echo"),
        (("prompt", "bos"), "prompt"),
    ],
    indirect=["fake"],
)
def test_tokens_are_placed_by_their_text(fake: Fake, mode: str) -> None:
    """Guards against -7.0 for two tokens where -4.0 for one is right: a `<s>` shifted all offsets of vLLM."""
    lm = model_of(fake)
    assert lm.mode == mode
    (score,) = lm.logprobs(["the plot is"], [" good"])
    assert (score.logprob, score.tokens) == (pytest.approx(expected("the plot is", " good")), 1)
    assert score.total_tokens == 4 + ("bos" in fake.modes)


@pytest.mark.parametrize(
    ("fake", "mode"), [(("echo", "lost", "top"), "top"), (("prompt", "lost"), "match")], indirect=["fake"]
)
def test_tokens_without_their_spaces_are_not_trusted(fake: Fake, mode: str) -> None:
    """Guards against the last token of the prompt being scored with the completion when SentencePiece loses spaces."""
    assert model_of(fake).mode == mode


@pytest.mark.parametrize("fake", [("echo", "top", "late"), ("prompt", "top", "late")], indirect=True)
def test_scores_of_the_wrong_token_are_not_trusted(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Guards against "exact" scores of other tokens, such as llama-cpp-python's where a model has no `<s>`."""
    for name, text in {"PROBE_PROMPT": "the plot is", "PROBE_END": " good", "PROBE": "the plot is good"}.items():
        monkeypatch.setattr(server_module, name, text)
    assert model_of(fake).mode == "top"
    assert "not trusted" in caplog.text


@pytest.mark.parametrize("fake", [("echo",), ("prompt",)], indirect=True)
def test_tokens_that_do_not_spell_a_text_are_refused(fake: Fake) -> None:
    """Guards single requests: a server that spells the probe may still lose a space or split a character elsewhere."""
    lm = model_of(fake)
    fake.lost_behind = "plot"
    with pytest.raises(ServerCapabilityError, match="do not spell"):
        lm.logprobs(["the plot is"], [" good"])
    assert lm.logprobs(["the"], [" good"])[0].tokens == 1


def test_a_space_put_before_a_text_is_no_drift() -> None:
    """Guards SentencePiece, which starts every text with a space, against being refused."""
    answer = {"tokens": ["<s>", " the", " plot", " x"], "token_logprobs": [None, -3.0, -2.0, -1.0]}
    tokens = echoed_tokens(lambda text, options: {"logprobs": answer}, "the plot")
    assert completion_score(tokens, "the") == (-2.0, 1, 3)


@pytest.mark.parametrize("fake", [("top",)], indirect=True)
def test_a_token_beyond_the_most_probable_is_bounded(fake: Fake) -> None:
    """Guards against an unlisted label that beats a listed one."""
    lm = model_of(fake)
    scores = {word: lm.logprobs(["the plot is"], [word])[0].logprob for word in (*WORDS, " unheard")}
    listed = sorted(distribution("the plot is").values())[1:]
    assert scores[" unheard"] <= min(listed)
    assert sorted(scores.values())[2:] == pytest.approx(listed)


@pytest.mark.parametrize("fake", [("top",)], indirect=True)
def test_what_a_server_cannot_do_is_said(fake: Fake) -> None:
    """Guards against Channel scores made of bounds."""
    with pytest.raises(ServerCapabilityError, match="echo"):
        model_of(fake).logprobs(["Type:"], [" good" * 30])


@pytest.mark.parametrize(
    ("fake", "exact"),
    [(("echo",), True), (("prompt",), True), (("top",), False), (("text",), False)],
    indirect=["fake"],
)
def test_perplexity_and_channel_are_refused_where_scores_are_bounds(fake: Fake, exact: bool, tmp_path: Path) -> None:
    """Guards PPL runs, and the store, against short texts that were scored with bounds among exact ones."""
    lm = load_language_model(LanguageModelConfig(server=fake.address, model=""), store=tmp_path / "scores.sqlite")
    InferenceEngine(lm, planted_template(), planted_pool())
    for scoring in ("ppl", "channel"):
        if exact:
            InferenceEngine(lm, planted_template(), planted_pool(), scoring=scoring)
            continue
        with pytest.raises(ServerCapabilityError, match=f"{scoring}.*bounds"):
            InferenceEngine(lm, planted_template(), planted_pool(), scoring=scoring)


def test_the_first_token_of_a_text_has_no_score(fake: Fake) -> None:
    """Guards against a silent 0 for what servers leave out."""
    with pytest.raises(ServerCapabilityError, match="first token"):
        model_of(fake).logprobs([""], ["good plot"])
    with pytest.raises(UsageError, match="empty completion"):
        model_of(fake).logprobs(["a"], [""])


@pytest.mark.parametrize("fake", [("text",)], indirect=True)
def test_without_logprobs_the_generated_label_wins(fake: Fake, caplog: pytest.LogCaptureFixture) -> None:
    """Guards the last resort, and that the user is told."""
    lm = model_of(fake)
    assert lm.mode == "match"
    assert "no log-probabilities" in caplog.text
    best = max(distribution("the plot is"), key=distribution("the plot is").__getitem__)
    other = next(word for word in WORDS if word != best)
    scores = lm.logprobs(["the plot is"] * 2, [best, other])
    assert scores[0].logprob > scores[1].logprob == UNMATCHED


def test_passing_faults_are_tried_again(fake: Fake) -> None:
    """Guards long runs against a busy server."""
    lm = model_of(fake)
    fake.fault = lambda number: {0: 503, 1: 429}.get(number % 3)
    assert lm.logprobs(["the plot"], [" good"])[0].logprob == pytest.approx(expected("the plot", " good"))


@pytest.mark.parametrize("fake", [("echo", "top")], indirect=True)
def test_a_busy_start_does_not_cost_the_best_mode(fake: Fake) -> None:
    """Guards against a run that is stuck with bounds because the server answered 503 while it started."""
    fake.fault = lambda number: 503 if number <= 5 else None
    assert model_of(fake).mode == "echo"
    fake.fault = lambda number: 503
    with pytest.raises(ServerUnavailableError, match="503"):
        model_of(fake)


@pytest.mark.parametrize("fake", [("text",)], indirect=True)
def test_a_server_that_breaks_on_echo_is_not_asked_for_long(fake: Fake) -> None:
    """Guards the start against half a minute for everything that a server answers with 500."""
    fake.fault = lambda number: 500 if fake.requests[-1].keys() & {"echo", "prompt_logprobs", "logprobs"} else None
    assert ServerLanguageModel(ServerApi(fake.address, tries=50, pause=0.001)).mode == "match"
    assert sum("echo" in body for body in fake.requests) <= 3


@pytest.mark.parametrize("fake", [("echo", "mute")], indirect=True)
def test_a_server_that_counts_no_tokens_is_named(fake: Fake) -> None:
    """Guards users against a KeyError where neither usage nor a way to tokenise is to be had."""
    with pytest.raises(ServerCapabilityError, match="count"):
        model_of(fake).count_tokens(["the plot"])


@pytest.mark.parametrize("fake", [("top",), ("text",)], indirect=True)
def test_the_labels_of_a_prompt_share_its_requests(fake: Fake) -> None:
    """Guards against asking at once, and so again, for what the labels of one prompt have in common."""
    lm = model_of(fake)
    asked = len(fake.requests)
    lm.logprobs(["the plot is"] * 5 + ["the"] * 5, WORDS * 2)
    assert len(fake.requests) - asked <= 4  # for each prompt its next tokens and its length


@pytest.mark.parametrize(
    ("fault", "message"),
    [(500, "500"), (400, "a fault"), ("<html>", "JSON"), ('{"choices": []}', "choice"), ("{}", "choice")],
)
def test_lasting_faults_are_named(fake: Fake, fault: int | str, message: str) -> None:
    """Guards users against tracebacks, and the store against scores made of error pages."""
    lm = model_of(fake)
    fake.fault = lambda number: fault
    with pytest.raises(ServerError, match=message):
        lm.logprobs(["the plot"], [" good"])


def test_a_missing_server_is_named() -> None:
    """Guards the commonest mistake of all."""
    with pytest.raises(ServerError, match="cannot be reached"):
        ServerLanguageModel(ServerApi("http://127.0.0.1:9/v1", tries=1, pause=0.001, timeout=1.0))
    with pytest.raises(UsageError, match="whole address"):
        ServerApi("127.0.0.1:9")


def test_no_more_requests_than_allowed_are_under_way(fake: Fake) -> None:
    """Guards a shared server against being flooded."""
    lm = model_of(fake, concurrency=3)
    lm.logprobs([f"the plot {number}" for number in range(40)], [" good"] * 40)
    assert 1 < fake.most_running <= 3


def test_the_key_is_sent_and_never_shown(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards secrets."""
    monkeypatch.setenv("FAKE_KEY", "s3cret")
    lm = ServerLanguageModel(ServerApi(fake.address, key_variable="FAKE_KEY", tries=0, pause=0.001))
    assert set(fake.headers) == {"Bearer s3cret"}
    fake.fault = lambda number: 401
    with pytest.raises(ServerError) as caught:
        lm.logprobs(["the plot"], [" good"])
    assert "s3cret" not in str(caught.value)
    monkeypatch.delenv("FAKE_KEY")
    with pytest.raises(UsageError, match="FAKE_KEY is not set"):
        ServerApi(fake.address, key_variable="FAKE_KEY")


def test_generation_passes_its_options_on(fake: Fake) -> None:
    """Guards seeds and stops on their way to the server."""
    lm = model_of(fake)
    texts = lm.generate(["the plot", "the"], max_new_tokens=2, stop=["\n"], temperature=0.7, top_k=5, seed=3)
    assert texts == [max(distribution(text), key=distribution(text).__getitem__) * 2 for text in ("the plot", "the")]
    sent = {body["prompt"]: body for body in fake.requests if body.get("stop")}
    assert (sent["the plot"]["seed"], sent["the"]["seed"]) == (3, 4)
    assert {(body["temperature"], body["top_k"], body["max_tokens"]) for body in sent.values()} == {(0.7, 5, 2)}


def test_the_fingerprint_tells_servers_and_models_apart(fake: Fake) -> None:
    """Guards the score store against mixing models."""
    assert model_of(fake).fingerprint == model_of(fake).fingerprint != model_of(fake, model="other").fingerprint
    assert PROBE in {body["prompt"] for body in fake.requests}


@pytest.mark.parametrize("fake", [("top",)], indirect=True)
def test_the_fingerprint_tells_how_many_tokens_are_named(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the store against mixing the bounds of 5 named tokens with those of 100."""
    many = model_of(fake).fingerprint
    monkeypatch.setattr(server_module, "TOPS", (5,))
    assert model_of(fake).fingerprint != many


def test_a_server_that_names_no_token_is_not_believed() -> None:
    """Guards against 0 nats for every label, of which the first would win, where the most probable token is the end."""
    with pytest.raises(ServerCapabilityError, match="no next token"):
        followed_score(lambda _: {}, "a prompt", " yes", total_tokens=2)
