"""The four ways in which an OpenAI-compatible server can tell how probable a completion is, best first.

"echo" gives the log-probability of every token of a text; "prompt" gives the same in vLLM's field prompt_logprobs;
"top" gives the most probable next tokens, from which a completion is followed token by token; "match" generates and
looks. The first two are exact, and refuse a text which the strings of its tokens do not spell: where a token lies is
known by no other means, because servers count offsets differently or not at all. "top" is exact for tokens among the
most probable, and a bound for the others. "match" knows only one answer. This module reads answers; how they travel is
the business of `selector.lm.server_api`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
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
        end: Where it ends in the text, characters; 0 for a token that only marks the start of a text.
        logprob: Nats; None for the first token of a text.
    """

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
        ServerCapabilityError: When they do not spell the text.
    """
    # One token more is generated, because some servers read 0 as "no limit"; it starts behind the text.
    found = ask(text, {"max_tokens": 1, "echo": True, "logprobs": 1}).get("logprobs") or {}
    tokens, logprobs = found.get("tokens"), found.get("token_logprobs")
    if not tokens or not logprobs or len(tokens) != len(logprobs):
        raise ServerError("echo gave no token_logprobs", expected="one for each token", remedy="See the server's log.")
    # A token such as <s> may stand before the text, and SentencePiece puts a space there.
    for marks, space in ((0, ""), (0, " "), (1, ""), (1, " ")):
        shown = [token.removeprefix("" if at else space) for at, token in enumerate(tokens[marks:])]
        sums = list(accumulate(map(len, shown)))
        if len(text) in sums and "".join(shown).startswith(text):
            ends = [0] * marks + _ends(shown[: sums.index(len(text)) + 1])
            return [ScoredToken(end, logprob) for end, logprob in zip(ends, logprobs, strict=False)]
    raise _misspelt("".join(tokens), text)


def prompt_tokens(ask: Ask, text: str) -> list[ScoredToken]:
    """Asks for a text's tokens by `prompt_logprobs`, as vLLM gives them.

    Args:
        ask: Sends the request.
        text: The text.

    Returns:
        Its tokens.

    Raises:
        ServerError: When the answer holds none.
        ServerCapabilityError: When they do not spell the text.
    """
    rows = ask(text, {"max_tokens": 1, "prompt_logprobs": 0}).get("prompt_logprobs")
    if not rows:
        raise ServerError("no prompt_logprobs came", expected="one row for each token", remedy="See the server's log.")
    # The first row is null: that token, or mark, has what the others leave of the text.
    entries = [next(iter(row.values())) for row in rows[1:] if row]
    shown = [entry["decoded_token"] for entry in entries]
    if "".join(shown) == " " + text:  # SentencePiece puts a space before a text
        shown[0] = shown[0].removeprefix(" ")
    spelt = "".join(shown)
    if rows[0] is not None or len(entries) < len(rows) - 1 or not text.endswith(spelt):
        raise _misspelt(spelt, text)
    ends = _ends([text[: len(text) - len(spelt)], *shown])
    return [
        ScoredToken(ends[0] if len(spelt) < len(text) else 0, None),
        *(ScoredToken(end, float(entry["logprob"])) for end, entry in zip(ends[1:], entries, strict=True)),
    ]


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
        raise _first_token()
    return CompletionScore(math.fsum(value for value in scored if value is not None), len(scored), len(tokens))


def check_prompt(prompt: str) -> None:
    """Refuses an empty prompt, which servers do not continue.

    Args:
        prompt: The prompt.

    Raises:
        ServerCapabilityError: When it is empty.
    """
    if not prompt:
        raise _first_token()


def _first_token() -> ServerCapabilityError:
    return ServerCapabilityError(
        "a server gives no log-probability for the first token of a text",
        expected="something before the completion",
        remedy="Set [prompt] instruction, or load the model here instead of asking a server.",
    )


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
        ServerCapabilityError: When the completion is too long to be followed, or the server names no next token.
    """
    check_label(completion)
    done, logprob, tokens = "", 0.0, 0
    while done != completion:
        found = distribution(prompt + done)
        if not found:  # as where the most probable token ends the text: nothing is known of any label
            raise ServerCapabilityError(
                "the server names no next token",
                expected="the log-probabilities of the most probable ones",
                remedy="Use a server that echoes prompts with log-probabilities, or load the model here.",
            )
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


def _ends(shown: Sequence[str]) -> list[int]:
    """Where tokens end; one without text of its own is part of a character that the tokens behind it complete."""
    ends = list(accumulate(map(len, shown)))
    for at in reversed(range(len(shown) - 1)):
        if not shown[at]:
            ends[at] = ends[at + 1]
    return ends


def _misspelt(spelt: str, text: str) -> ServerCapabilityError:
    """What is raised where it is not known which tokens belong to the completion."""
    same = next((at for at, (one, other) in enumerate(zip(spelt, text, strict=False)) if one != other), 0)
    part = slice(max(0, same - 20), same + 20)
    return ServerCapabilityError(
        f"the tokens that the server names do not spell the text: {spelt[part]!r} where {text[part]!r} was sent",
        expected="tokens with their spaces, and no character that is split among tokens",
        remedy="Leave such texts out, use another server, or load the model here.",
    )
