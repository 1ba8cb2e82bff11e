"""The four ways in which an OpenAI-compatible server can tell how probable a completion is, best first.

"echo" gives the log-probability of every token of a text; "prompt" gives the same in vLLM's field prompt_logprobs;
"top" gives the most probable next tokens, from which a completion is followed token by token; "match" generates and
looks. The first two are exact. "top" is exact for tokens among the most probable, and a bound for the others. "match"
knows only one answer. This module reads answers; how they travel is the business of `selector.lm.server_api`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from selector.errors import ServerCapabilityError, ServerError
from selector.lm.base import CompletionScore

Ask = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]
"""(text, options) to the first choice of the answer, with the answer's usage under "usage"."""

MATCHED, UNMATCHED = 0.0, -100.0  # nats; "match" tells only which completion was generated
LONGEST_LABEL = 8  # words; anything longer is no label but a text, which only exact modes can score


class ScoredToken(NamedTuple):
    """A token of an echoed text.

    Attributes:
        start: Where it starts in the text, characters.
        end: Where it ends.
        logprob: Nats; None for the first token of a text.
    """

    start: int
    end: int
    logprob: float | None


def echoed_tokens(ask: Ask, text: str) -> list[ScoredToken]:
    """Asks for a text's tokens by `echo`.

    Args:
        ask: Sends the request.
        text: The text.

    Returns:
        Its tokens.

    Raises:
        ServerError: When the answer holds none.
    """
    # One token more is generated, because some servers read 0 as "no limit"; it starts behind the text.
    found = ask(text, {"max_tokens": 1, "echo": True, "logprobs": 1}).get("logprobs") or {}
    tokens, logprobs = found.get("tokens"), found.get("token_logprobs")
    if not tokens or not logprobs or len(tokens) != len(logprobs):
        raise ServerError("echo gave no token_logprobs", expected="one for each token", remedy="See the server's log.")
    starts = found.get("text_offset") or _running_starts(tokens)
    ends = [*starts[1:], starts[-1] + len(tokens[-1])]
    return [
        ScoredToken(start, end, logprob)
        for start, end, logprob in zip(starts, ends, logprobs, strict=True)
        if start < len(text)
    ]


def prompt_tokens(ask: Ask, text: str) -> list[ScoredToken]:
    """Asks for a text's tokens by `prompt_logprobs`, as vLLM gives them.

    Args:
        ask: Sends the request.
        text: The text.

    Returns:
        Its tokens.

    Raises:
        ServerError: When the answer holds none.
    """
    rows = ask(text, {"max_tokens": 1, "prompt_logprobs": 0}).get("prompt_logprobs")
    if not rows:
        raise ServerError("no prompt_logprobs came", expected="one row for each token", remedy="See the server's log.")
    tokens: list[ScoredToken] = []
    end = len(text)
    for row in reversed(rows):  # the first row is null, so places are counted from the end
        if row is None:
            tokens.append(ScoredToken(0, end, None))
            break
        entry = next(iter(row.values()))
        start = end - len(entry["decoded_token"])
        tokens.append(ScoredToken(start, end, float(entry["logprob"])))
        end = start
    return tokens[::-1]


def next_tokens(ask: Ask, text: str, *, top: int) -> dict[str, float]:
    """Asks for the most probable next tokens.

    Args:
        ask: Sends the request.
        text: What stands before them.
        top: How many are asked for.

    Returns:
        Token text to log-probability, nats; empty when the server gives none.
    """
    found = ask(text, {"max_tokens": 1, "logprobs": top, "temperature": 0}).get("logprobs") or {}
    if found.get("content"):  # llama.cpp's own server answers in the form of the chat endpoint
        return {entry["token"]: float(entry["logprob"]) for entry in found["content"][0].get("top_logprobs") or ()}
    rows = found.get("top_logprobs") or []
    return {token: float(logprob) for token, logprob in (rows[0] or {}).items()} if rows else {}


def completion_score(tokens: list[ScoredToken], prompt: str) -> CompletionScore:
    """Adds up the tokens that reach beyond the end of the prompt.

    Args:
        tokens: The tokens of prompt and completion.
        prompt: The prompt.

    Returns:
        The score.

    Raises:
        ServerCapabilityError: When the completion starts with the first token, for which servers give nothing.
    """
    scored = [token.logprob for token in tokens if token.end > len(prompt)]
    if not scored or None in scored or not prompt:
        raise ServerCapabilityError(
            "a server gives no log-probability for the first token of a text",
            expected="something before the completion",
            remedy="Set [prompt] instruction, or load the model here instead of asking a server.",
        )
    return CompletionScore(math.fsum(value for value in scored if value is not None), len(scored), len(tokens))


def check_label(completion: str) -> None:
    """Refuses texts where only labels can be scored.

    Args:
        completion: The completion.

    Raises:
        ServerCapabilityError: When it has more than eight words.
    """
    if len(completion.split()) > LONGEST_LABEL:
        raise ServerCapabilityError(
            f"a completion of {len(completion.split())} words is to be scored by a server that scores only labels",
            expected=f"at most {LONGEST_LABEL} words, or a server with echo or prompt_logprobs",
            remedy='Set scoring = "direct", use another server, or load the model here.',
        )


def followed_score(
    distribution: Callable[[str], Mapping[str, float]], prompt: str, completion: str, *, total_tokens: int
) -> CompletionScore:
    """Follows a completion token by token through the most probable next tokens.

    Args:
        distribution: Text to its most probable next tokens.
        prompt: The prompt.
        completion: The completion.
        total_tokens: The length of the prompt, tokens.

    Returns:
        The score; from the first token that is not among the most probable ones on it is a bound: what probability
        they leave.

    Raises:
        ServerCapabilityError: When the completion is too long to be followed.
    """
    check_label(completion)
    done, logprob, tokens = "", 0.0, 0
    while done != completion:
        found = distribution(prompt + done)
        rest = completion[len(done) :]
        fitting = [token for token in found if token and rest.startswith(token)]
        tokens += 1
        if not fitting:
            left = 1.0 - math.fsum(map(math.exp, found.values()))
            logprob += min([math.log(max(left, 1e-9)), *found.values()])
            break
        step = max(fitting, key=len)
        logprob += found[step]
        done += step
    return CompletionScore(logprob, tokens, total_tokens + tokens)


def _running_starts(tokens: list[str]) -> list[int]:
    starts, at = [], 0
    for token in tokens:
        starts.append(at)
        at += len(token)
    return starts
