"""A language model behind an OpenAI-compatible server: vLLM, SGLang, llama.cpp's servers.

What the server can do is found out once, with a short text, and said in the log; scores come in the best way it has.
This module knows nothing of demonstrations or labels, and nothing of the model behind the server but its name.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, TypeVar

from selector.errors import ServerCapabilityError, ServerError, UsageError
from selector.lm.base import CompletionScore, Usage
from selector.lm.server_api import ServerApi
from selector.lm.server_modes import (
    MATCHED,
    UNMATCHED,
    check_label,
    completion_score,
    echoed_tokens,
    followed_score,
    next_tokens,
    prompt_tokens,
)

logger = logging.getLogger(__name__)

PROBE = "One two three four"
TOPS = (100, 20, 5)  # servers differ in how many next tokens they name
DEFAULT_WINDOW = 2048
MEANING = {
    "echo": "every token by echo; Direct, PPL and Channel are exact",
    "prompt": "every token by prompt_logprobs; Direct, PPL and Channel are exact",
    "top": "the most probable next tokens; Direct is exact for labels among them, PPL and Channel are not supported",
    "match": "generated text only; Direct tells the generated label, probabilities are not supported",
}
Item = TypeVar("Item")
Result = TypeVar("Result")


class ServerLanguageModel:
    """Scores and generates through a server.

    Args:
        api: The server.
        model: The model's name there; empty takes the first that the server lists.
        concurrency: Requests that are on their way at once.
        context_length: The window where the server does not tell it, tokens; 0 is 2,048.

    Raises:
        ServerError: When the server cannot be reached or cannot complete texts.
    """

    def __init__(self, api: ServerApi, *, model: str = "", concurrency: int = 8, context_length: int = 0) -> None:
        self._api = api
        self._concurrency = max(1, concurrency)
        listed = api.get("models").get("data") or [{}]
        card = next((entry for entry in listed if entry.get("id") == model), listed[0])
        self._model = model or str(card.get("id", ""))
        meta = card.get("meta") or {}
        told = card.get("max_model_len") or meta.get("n_ctx") or meta.get("n_ctx_train")
        self._window = int(context_length or told or DEFAULT_WINDOW)
        self._usage = Usage()
        self.mode, self._top = self._probe()
        self._count = self._counter()
        logger.info("%s scores by %s", api.address, MEANING[self.mode])

    @property
    def fingerprint(self) -> str:
        """Identifies address, model name and mode; a server does not tell its weights' revision."""
        name = f"{self._api.address}\n{self._model}\n{self.mode}"
        return hashlib.sha256(name.encode()).hexdigest()

    @property
    def context_length(self) -> int:
        """The window, tokens."""
        return self._window

    @property
    def usage(self) -> Usage:
        """Running count; what the server computes is not told, so all tokens count as computed."""
        return self._usage

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Counts tokens; see `LanguageModel.count_tokens`."""
        return self._all(self._count, texts)

    def logprobs(self, prompts: Sequence[str], completions: Sequence[str]) -> list[CompletionScore]:
        """Scores completions; see `LanguageModel.logprobs`.

        Args:
            prompts: P prompts.
            completions: P completions, none empty.

        Returns:
            P scores.

        Raises:
            UsageError: When a completion is empty.
            ServerCapabilityError: When the server cannot score such a completion.
            ServerError: When the server fails for good.
        """
        if not all(completions):
            raise UsageError(
                "an empty completion was asked for", expected="a text to score", remedy="Give every label a verbalizer."
            )
        pairs = list(zip(prompts, completions, strict=True))
        scores = self._all(self._scorer(), pairs)
        total = sum(score.total_tokens for score in scores)
        self._usage = self._usage.also(calls=len(scores), tokens=total, tokens_computed=total)
        return scores

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        top_k: int = 0,
        seed: int = 0,
    ) -> list[str]:
        """Continues prompts; see `LanguageModel.generate`."""
        options: dict[str, Any] = {"max_tokens": max_new_tokens, "temperature": temperature}
        options |= {"stop": list(stop)} if stop else {}
        options |= {"top_k": top_k} if top_k else {}

        def one(numbered: tuple[int, str]) -> tuple[str, int]:
            choice = self._ask(numbered[1], options | {"seed": seed + numbered[0]})
            return str(choice.get("text", "")), int(choice["usage"].get("total_tokens", 0))

        answers = self._all(one, list(enumerate(prompts)))
        total = sum(tokens for _, tokens in answers)
        self._usage = self._usage.also(calls=len(answers), tokens=total, tokens_computed=total)
        return [text for text, _ in answers]

    def _scorer(self) -> Callable[[tuple[str, str]], CompletionScore]:
        if self.mode in ("echo", "prompt"):
            read = echoed_tokens if self.mode == "echo" else prompt_tokens
            return lambda pair: completion_score(read(self._ask, "".join(pair)), pair[0])
        if self.mode == "match":
            generated = lru_cache(maxsize=None)(self._generated)
            return lambda pair: _matched(pair, *generated(pair[0], 16))
        # The labels of one query ask for the same distributions.
        distribution = lru_cache(maxsize=4096)(lambda text: next_tokens(self._ask, text, top=self._top))
        count = lru_cache(maxsize=4096)(self._count)
        return lambda pair: followed_score(distribution, *pair, total_tokens=count(pair[0]))

    def _generated(self, prompt: str, length: int) -> tuple[str, int]:
        choice = self._ask(prompt, {"max_tokens": length, "temperature": 0})
        return str(choice.get("text", "")), int(choice["usage"].get("total_tokens", 0))

    def _ask(self, text: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = self._api.post("completions", {"model": self._model, "prompt": text, **options})
        try:
            return {**answer["choices"][0], "usage": answer.get("usage") or {}}
        except (KeyError, IndexError, TypeError) as error:
            raise ServerError(
                f"{self._api.address} answered without a choice",
                expected="an OpenAI-compatible completion",
                remedy="See the server's log.",
            ) from error

    def _probe(self) -> tuple[str, int]:
        """Finds the best mode, and how many next tokens the server names."""
        cut = len("One two three")
        for mode, read in (("echo", echoed_tokens), ("prompt", prompt_tokens)):
            try:
                completion_score(read(self._ask, PROBE), PROBE[:cut])
            except (ServerError, ServerCapabilityError, KeyError, TypeError, ValueError):
                continue
            return mode, 0
        for top in TOPS:
            try:
                found = next_tokens(self._ask, PROBE, top=top)
            except (ServerError, KeyError, TypeError, ValueError):
                continue
            if len(found) > 1:
                return "top", top
        self._ask(PROBE, {"max_tokens": 1, "temperature": 0})  # a server that cannot even do that says so here
        logger.warning("%s gives no log-probabilities: %s", self._api.address, MEANING["match"])
        return "match", 0

    def _counter(self) -> Callable[[str], int]:
        """Finds the server's way to count tokens: vLLM's, llama.cpp's, llama-cpp-python's, or a completion's usage."""
        ways: list[Callable[[str], int]] = [
            lambda text: int(self._api.post("/tokenize", {"model": self._model, "prompt": text})["count"]),
            lambda text: len(self._api.post("/tokenize", {"content": text, "add_special": True})["tokens"]),
            lambda text: int(self._api.post("/extras/tokenize/count", {"input": text})["count"]),
        ]
        for way in ways:
            try:
                if way(PROBE) > 0:
                    return way
            except (ServerError, KeyError, TypeError, ValueError):
                continue
        return lambda text: int(self._ask(text, {"max_tokens": 1})["usage"]["prompt_tokens"])

    def _all(self, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Does the work for all items, a bounded number at once; the first failure stops the rest."""
        with ThreadPoolExecutor(max_workers=self._concurrency) as threads:
            futures = [threads.submit(work, item) for item in items]
            try:
                return [future.result() for future in futures]
            except BaseException:
                threads.shutdown(cancel_futures=True)
                raise


def _matched(pair: tuple[str, str], text: str, total_tokens: int) -> CompletionScore:
    check_label(pair[1])
    matches = text.lstrip().startswith(pair[1].strip())
    return CompletionScore(MATCHED if matches else UNMATCHED, 1, total_tokens)
