"""A language model behind an OpenAI-compatible server: vLLM, SGLang, llama.cpp's servers.

What the server can do is found out once, with a short text, and said in the log; scores come in the best way it has.
This module knows nothing of demonstrations or labels, and nothing of the model behind the server but its name.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any, TypeVar

from selector.errors import ServerCapabilityError, ServerError, ServerUnavailableError, UsageError
from selector.lm.base import CompletionScore, Usage
from selector.lm.server_api import ServerApi
from selector.lm.server_modes import (
    MATCHED,
    UNMATCHED,
    check_label,
    check_prompt,
    completion_score,
    echoed_tokens,
    followed_score,
    next_tokens,
    prompt_tokens,
)

logger = logging.getLogger(__name__)

# The end is one token to every tokeniser of words, and so probable that a server names it among the next tokens.
PROBE_PROMPT, PROBE_END = "One two three four. One two three four. One two three", " four"
PROBE = PROBE_PROMPT + PROBE_END
AGREEMENT = 0.5  # nats; servers round, and may run the same model in batches of other shapes
_WORD_GOES_ON, _DECIMALS = re.compile(r"\w", re.ASCII), re.compile(r"[.,][0-9]")
MISUNDERSTOOD = (KeyError, IndexError, TypeError, ValueError, AttributeError)  # from answers of another shape
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
Way = tuple[str, Callable[[str], dict[str, Any]], Callable[[Any], int]]
"""A path that counts tokens, the request for a text, and the number in the answer."""


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
        self._model, told = _listed_model(api, model)
        self._window = context_length or told or DEFAULT_WINDOW
        self._usage = Usage()
        self.mode, self._top = self._probe()
        self._count = self._counter()
        logger.info("%s scores by %s", api.address, MEANING[self.mode])

    @property
    def fingerprint(self) -> str:
        """Identifies address, model name and how scores are told; a server does not tell its weights' revision."""
        way = "match words" if self.mode == "match" else self.mode  # parts of words once matched too
        name = f"{self._api.address}\n{self._model}\n{way}\n{self._top}"
        return hashlib.sha256(name.encode()).hexdigest()

    @property
    def exact(self) -> bool:
        """Whether all scores are log-probabilities; else some are bounds, or only tell what was generated."""
        return self.mode in ("echo", "prompt")

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
        # The labels of one query ask for the same things, so they go one after the other.
        groups: dict[str, list[int]] = {}
        for place, (prompt, _) in enumerate(pairs):
            groups.setdefault(str(place) if self.exact else prompt, []).append(place)
        found = self._all(self._group_scores, [[pairs[place] for place in places] for places in groups.values()])
        by_place = {
            place: score
            for places, group in zip(groups.values(), found, strict=True)
            for place, score in zip(places, group, strict=True)
        }
        scores = [by_place[place] for place in range(len(pairs))]
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
        """Continues prompts; see `LanguageModel.generate`. A server that passes over `stop` is cut short here."""
        options: dict[str, Any] = {"max_tokens": max_new_tokens, "temperature": temperature}
        options |= {"stop": list(stop)} if stop else {}
        options |= {"top_k": top_k} if top_k else {}

        def one(numbered: tuple[int, str]) -> tuple[str, int]:
            choice = self._ask(numbered[1], options | {"seed": seed + numbered[0]})
            text = str(choice.get("text", ""))
            cuts = [text.index(mark) for mark in stop if mark in text]
            return text[: min(cuts, default=len(text))], int(choice["usage"].get("total_tokens", 0))

        answers = self._all(one, list(enumerate(prompts)))
        total = sum(tokens for _, tokens in answers)
        self._usage = self._usage.also(calls=len(answers), tokens=total, tokens_computed=total)
        return [text for text, _ in answers]

    def _group_scores(self, pairs: Sequence[tuple[str, str]]) -> list[CompletionScore]:
        """Scores pairs that share a prompt."""
        prompt = pairs[0][0]
        if self.exact:
            read = echoed_tokens if self.mode == "echo" else prompt_tokens
            return [completion_score(read(self._ask, prompt + completion), prompt) for _, completion in pairs]
        check_prompt(prompt)
        for _, completion in pairs:
            check_label(completion)
        if self.mode == "match":
            choice = self._ask(prompt, {"max_tokens": 16, "temperature": 0})
            text, total = str(choice.get("text", "")), int(choice["usage"].get("total_tokens", 0))
            return [_matched(completion, text, total) for _, completion in pairs]
        distribution, total = cache(lambda text: next_tokens(self._ask, text, top=self._top)), self._count(prompt)
        return [followed_score(distribution, prompt, completion, total_tokens=total) for _, completion in pairs]

    def _ask(self, text: str, options: Mapping[str, Any], *, patient: bool = True) -> Mapping[str, Any]:
        answer = self._api.post("completions", {"model": self._model, "prompt": text, **options}, patient=patient)
        try:
            return {**answer["choices"][0], "usage": answer.get("usage") or {}}
        except (KeyError, IndexError, TypeError) as error:
            raise ServerError(
                f"{self._api.address} answered without a choice",
                expected="an OpenAI-compatible completion",
                remedy="See the server's log.",
            ) from error

    def _ask_whether(self, text: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Asks for what the server may be unable to do: a refusal is soon believed, a busy server is waited for."""
        try:
            return self._ask(text, options, patient=False)
        except ServerUnavailableError:
            return self._ask(text, options)

    def _probe(self) -> tuple[str, int]:
        """Finds the best mode, and how many next tokens the server names."""
        named, top = self._named()
        for mode, read in (("echo", echoed_tokens), ("prompt", prompt_tokens)):
            try:
                score = completion_score(read(self._ask_whether, PROBE), PROBE_PROMPT)
            except ServerUnavailableError:
                raise  # what it can do is not known
            except (ServerError, ServerCapabilityError, *MISUNDERSTOOD) as error:
                logger.debug("%s does not score by %s: %s", self._api.address, mode, error)
                continue
            wanted = named.get(PROBE_END, score.logprob)
            if score.tokens == 1 and abs(score.logprob - wanted) <= AGREEMENT:
                return mode, 0
            told = f"{score.logprob:.2f} nats for {score.tokens} tokens where {wanted:.2f} for one is right"
            logger.warning("%s is not trusted to score by %s: it tells %s", self._api.address, mode, told)
        if top:
            return "top", top
        self._ask(PROBE, {"max_tokens": 1, "temperature": 0})  # a server that cannot even do that says so here
        logger.warning("%s gives no log-probabilities: %s", self._api.address, MEANING["match"])
        return "match", 0

    def _named(self) -> tuple[dict[str, float], int]:
        """The next tokens of the probe that the server names, and how many it can be asked for; 0 where none."""
        for top in TOPS:
            try:
                found = next_tokens(self._ask_whether, PROBE_PROMPT, top=top)
            except ServerUnavailableError:
                raise
            except (ServerError, *MISUNDERSTOOD):
                continue
            if len(found) > 1:
                return found, top
        return {}, 0

    def _counter(self) -> Callable[[str], int]:
        """Finds the server's way to count tokens: vLLM's, llama.cpp's, llama-cpp-python's, or a completion's usage."""
        ways: list[Way] = [
            ("/tokenize", lambda text: {"model": self._model, "prompt": text}, lambda answer: int(answer["count"])),
            ("/tokenize", lambda text: {"content": text, "add_special": True}, lambda answer: len(answer["tokens"])),
            ("/extras/tokenize/count", lambda text: {"input": text}, lambda answer: int(answer["count"])),
        ]
        for way in ways:
            try:
                if self._counted_by(way, PROBE, patient=False) > 0:
                    return partial(self._counted_by, way)
            except (ServerError, *MISUNDERSTOOD):  # a gateway may answer anything for a path that it does not know
                continue
        return self._counted_by_usage

    def _counted_by(self, way: Way, text: str, *, patient: bool = True) -> int:
        path, body, read = way
        return read(self._api.post(path, body(text), patient=patient))

    def _counted_by_usage(self, text: str) -> int:
        usage = self._ask(text, {"max_tokens": 1})["usage"]
        if "prompt_tokens" not in usage:
            raise ServerCapabilityError(
                f"{self._api.address} does not count tokens",
                expected="prompt_tokens in the usage of a completion, or a way to tokenise",
                remedy="Use another server, or load the model here.",
            )
        return int(usage["prompt_tokens"])

    def _all(self, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Does the work for all items, a bounded number at once; the first failure stops the rest."""
        with ThreadPoolExecutor(max_workers=self._concurrency) as threads:
            futures = [threads.submit(work, item) for item in items]
            try:
                return [future.result() for future in futures]
            except BaseException:
                threads.shutdown(cancel_futures=True)
                raise


def _listed_model(api: ServerApi, model: str) -> tuple[str, int]:
    """The name of the model wanted, or of the first that a server lists, and the window that it tells, tokens or 0."""
    try:
        listed = api.get("models").get("data") or [{}]
        card = next((entry for entry in listed if entry.get("id") == model), listed[0])
        meta = card.get("meta") or {}
        told = card.get("max_model_len") or meta.get("n_ctx") or meta.get("n_ctx_train")
        return model or str(card.get("id", "")), int(told or 0)
    except MISUNDERSTOOD as error:
        raise ServerError(
            f"{api.address} lists its models in another form ({type(error).__name__})",
            expected="the /models of an OpenAI-compatible server",
            remedy="Check the address; it often ends in /v1.",
        ) from error


def _matched(completion: str, text: str, total_tokens: int) -> CompletionScore:
    """Whole words alone match, and of two labels that do the longer one wins: "10" is not "1", nor "not sure" "not"."""
    written, label = text.lstrip(), completion.strip()
    last, behind = label[-1:], written[len(label) :]
    # Only scripts that part words by spaces tell where one ends.
    goes_on = _WORD_GOES_ON.match(behind) or (last.isdigit() and _DECIMALS.match(behind))
    cut = last.isascii() and last.isalnum() and goes_on
    if cut or not written.startswith(label):
        return CompletionScore(UNMATCHED, 1, total_tokens)
    return CompletionScore(MATCHED - 1 / (1 + len(label)), 1, total_tokens)
