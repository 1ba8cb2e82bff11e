"""The scoring functions: which texts are scored for a label, and how the score is read.

Direct: log P(label | demonstrations, input) (Brown et al., 2020). PPL: the negative log-perplexity of the query with
the label filled in, given the demonstrations, which is how OpenICL and self-adaptive ICL (Wu et al., 2023) rank labels.
Channel: log P(input | demonstrations, label) (Min et al., 2022). Two are for labels and choices of unlike length or
frequency: per token, the mean of Direct over the label's tokens (Brown et al., 2020), and PMI, Direct less the label's
log-probability behind the template's premise alone (Holtzman et al., 2021, PMI_DC). Pure functions over texts; no model
is called here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from selector.errors import UnknownNameError
from selector.lm.base import CompletionScore
from selector.prompting.template import PromptTemplate
from selector.types import Example, Query

Request = tuple[str, str]
"""A prompt and the completion to be scored behind it."""


@dataclass(frozen=True)
class ScoringFunction:
    """One way to score labels.

    Attributes:
        requests: (template, demonstrations, query) to one request for each label, in the order of
            `template.answers_of(query)`.
        value: The score of a label from the score of its request; nats, higher is better.
        less_premise: Whether the score of the label behind the template's premise is taken away.
        demonstration: How an example stands in the prompts of its requests.
    """

    requests: Callable[[PromptTemplate, Sequence[Example], Query], list[Request]]
    value: Callable[[CompletionScore], float]
    less_premise: bool = False
    demonstration: Callable[[PromptTemplate, Example], str] = PromptTemplate.demonstration


def direct_requests(template: PromptTemplate, demonstrations: Sequence[Example], query: Query) -> list[Request]:
    """Asks for the label behind demonstrations and input.

    Args:
        template: The prompt template.
        demonstrations: In prompt order.
        query: The query.

    Returns:
        L requests that share one prompt.
    """
    prompt = template.prompt(demonstrations, query)
    return [(prompt, template.completion(label)) for label in template.answers_of(query)]


def ppl_requests(template: PromptTemplate, demonstrations: Sequence[Example], query: Query) -> list[Request]:
    """Asks for input and label together behind the demonstrations.

    Args:
        template: The prompt template.
        demonstrations: In prompt order.
        query: The query.

    Returns:
        L requests that share one prompt, the demonstrations.
    """
    context, text = template.context(demonstrations), template.query_text(query)
    return [(context, text + template.completion(label)) for label in template.answers_of(query)]


def channel_requests(template: PromptTemplate, demonstrations: Sequence[Example], query: Query) -> list[Request]:
    """Asks for the input behind demonstrations and label.

    Args:
        template: The prompt template.
        demonstrations: In prompt order.
        query: The query.

    Returns:
        L requests, each with a prompt of its own.
    """
    context = template.channel_context(demonstrations)
    parts = [template.channel_query(label, query) for label in template.answers_of(query)]
    return [(context + head, text) for head, text in parts]


SCORING_FUNCTIONS: Mapping[str, ScoringFunction] = MappingProxyType(
    {
        "direct": ScoringFunction(direct_requests, lambda score: score.logprob),
        "ppl": ScoringFunction(ppl_requests, lambda score: score.logprob / score.tokens),
        "channel": ScoringFunction(
            channel_requests, lambda score: score.logprob, demonstration=PromptTemplate.channel_demonstration
        ),
        "per-token": ScoringFunction(direct_requests, lambda score: score.logprob / score.tokens),
        "pmi": ScoringFunction(direct_requests, lambda score: score.logprob, less_premise=True),
    }
)


def scoring_function(name: str) -> ScoringFunction:
    """Finds a scoring function.

    Args:
        name: "direct", "ppl", "channel", "per-token" or "pmi".

    Returns:
        The scoring function.

    Raises:
        UnknownNameError: When there is none of that name.
    """
    if name not in SCORING_FUNCTIONS:
        raise UnknownNameError("scoring function", name, known=tuple(SCORING_FUNCTIONS))
    return SCORING_FUNCTIONS[name]
