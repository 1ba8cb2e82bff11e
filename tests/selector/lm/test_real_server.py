"""The server backend against llama.cpp's real server with the bundled model; `make llama-server` installs it."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from selector.data.assets import find_bundled
from selector.errors import ServerError
from selector.lm.base import LanguageModel
from selector.lm.config import LanguageModelConfig
from selector.lm.loading import load_language_model
from selector.lm.server import ServerLanguageModel
from selector.lm.server_modes import MATCHED, UNMATCHED
from selector.testing import planted_examples

PYTHON = Path(__file__).resolve().parents[3] / ".venv-peers" / "llama-cpp" / "bin" / "python"
STARTS_WITHIN = 120.0  # seconds

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["true", "false"], ids=["top", "match"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerLanguageModel]:
    """A server that keeps all logits, and so names next tokens, and one that gives text only."""
    if not PYTHON.is_file():
        pytest.skip("llama.cpp's server is not installed; `make llama-server` does that")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    model = str(find_bundled("smollm2-135m-instruct"))
    options = ["--host", "127.0.0.1", "--port", str(port), "--n_ctx", "1024", "--logits_all", request.param]
    log = tmp_path_factory.mktemp("server") / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(PYTHON), "-m", "llama_cpp.server", "--model", model, *options],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"OMP_NUM_THREADS": "2"},
        )
    config = LanguageModelConfig(model="", server=f"http://127.0.0.1:{port}/v1", concurrency=2, context_length=1024)
    try:
        end = time.monotonic() + STARTS_WITHIN
        while True:
            try:
                lm = load_language_model(config)
                break
            except ServerError:
                assert process.poll() is None, log.read_text()[-2000:]
                assert time.monotonic() < end, log.read_text()[-2000:]
                time.sleep(1.0)
        assert isinstance(lm, ServerLanguageModel)
        yield lm
    finally:
        process.terminate()
        process.wait()


def test_a_real_server_agrees_with_the_model_loaded_here(
    served: ServerLanguageModel, bundled_lm: LanguageModel
) -> None:
    """Guards the reading of a real server's answers: the same weights, quantised there, give nearly the same scores."""
    texts = [example.fields["text"] for example in planted_examples(6, seed=4)]
    prompts = [f"Review: {text}\nSentiment:" for text in texts for _ in range(2)]
    completions = [" positive", " negative"] * len(texts)
    found = served.logprobs(prompts, completions)
    wanted = bundled_lm.logprobs(prompts, completions)
    if served.mode == "match":
        assert all(score.logprob == UNMATCHED or MATCHED - 1 < score.logprob < MATCHED for score in found)
        return
    assert [score.tokens for score in found] == [score.tokens for score in wanted]
    difference = np.array([one.logprob - other.logprob for one, other in zip(found, wanted, strict=True)])
    likely = np.array([score.logprob for score in wanted]) > -6.0  # others may not be among the named tokens
    assert likely.any()
    assert np.abs(difference[likely]).max() < 0.5  # llama.cpp multiplies in 8 bits
    assert abs(served.count_tokens(prompts[:1])[0] - bundled_lm.count_tokens(prompts[:1])[0]) <= 1


def test_the_echo_of_a_model_without_a_start_mark_is_not_trusted(served: ServerLanguageModel) -> None:
    """Guards against llama-cpp-python's echo, which is off by one token for a model that starts texts with no mark."""
    assert served.mode in ("top", "match")
    assert not served.exact


def test_a_real_server_generates(served: ServerLanguageModel) -> None:
    """Guards generation through a real server: same seed, same text; stops are respected."""
    options = {"max_new_tokens": 12, "temperature": 0.0, "stop": ["\n"]}
    first = served.generate(["The capital of France is"], **options)
    assert first == served.generate(["The capital of France is"], **options)
    assert "Paris" in first[0]
    assert "\n" not in first[0]
