"""The probing set of entropy ordering, written by the language model itself (Lu et al., 2022).

From each order of the demonstrations the language model goes on writing; what it writes is cut into examples by the
template, labels are thrown away, and the inputs become probes. No labelled data beyond the demonstrations is used.

The prompt breaks off where an input begins and the first line is that input, whether or not a label line follows: at
the published temperature a small or instruction-tuned model seldom keeps to the form by itself. Repeated n-grams, which
the paper blocks while it samples, are not blocked: not every language model can, and duplicate probes are dropped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from selector.data.pool import normalised_text
from selector.errors import ShotsmithError
from selector.inference.engine import InferenceEngine
from selector.prompting.pieces import parse_template
from selector.prompting.template import PromptTemplate
from selector.types import Example, Selection

MAX_NEW_TOKENS = 128  # this and what follows as published
TEMPERATURE = 2.0
TOP_K = 20
FEWEST_WORDS = 5


def opening_text(template: PromptTemplate) -> str:
    """Finds what stands before the first input of an example.

    Args:
        template: The prompt template.

    Returns:
        The text without the space at its end, which belongs to what follows; empty where nothing stands there.
    """
    literal, name = parse_template(template.template)[0]
    return "" if name in ("label", None) else literal.rstrip(" ")


def example_pattern(template: PromptTemplate, *, broken_off: bool = False) -> re.Pattern[str]:
    """Builds the expression that finds examples in text written in the form of a template.

    Args:
        template: The prompt template.
        broken_off: Whether an example may also end with the line of its last input.

    Returns:
        A pattern with one group for each input field; fields do not span lines.
    """
    parts: list[str] = []
    seen: set[str] = set()
    for literal, name in parse_template(template.template):
        if name == "label":
            parts.append(f"(?:{re.escape(literal)}|\n)" if broken_off and seen else re.escape(literal))
            break
        parts.append(re.escape(literal))
        if name is not None:
            parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>[^\n]+?)")
            seen.add(name)
    return re.compile("".join(parts))


def parsed_probes(template: PromptTemplate, texts: Sequence[str]) -> list[Example]:
    """Cuts written text into unlabelled examples.

    Args:
        template: The prompt template.
        texts: What a language model wrote, each starting where an example starts; the first may be broken off.

    Returns:
        Distinct examples whose input fields together have at least 5 words.
    """
    pattern, first_pattern = example_pattern(template), example_pattern(template, broken_off=True)
    found: dict[str, dict[str, str]] = {}
    for text in texts:
        first = first_pattern.match(text)
        for match in [*([first] if first else []), *pattern.finditer(text, first.end() if first else 0)]:
            fields = {name: value.strip() for name, value in match.groupdict().items()}
            if (
                set(fields) == set(template.input_fields)
                and sum(len(value.split()) for value in fields.values()) >= FEWEST_WORDS
            ):
                found.setdefault(normalised_text(fields), fields)
    return [Example(f"probe-{number}", fields) for number, fields in enumerate(found.values())]


def generate_probes(engine: InferenceEngine, orders: Sequence[Selection], *, seed: int = 0) -> list[Example]:
    """Lets the language model write a probing set, one text for each order of the demonstrations.

    Args:
        engine: Its language model writes.
        orders: The orders of one set of demonstrations.
        seed: Seeds the sampling.

    Returns:
        The probes, without labels.

    Raises:
        ShotsmithError: When nothing that was written has the form of the template.
    """
    opening = opening_text(engine.template)
    prompts = [engine.template.context([engine.pool[index] for index in order.indices]) + opening for order in orders]
    written = engine.lm.generate(
        prompts, max_new_tokens=MAX_NEW_TOKENS, temperature=TEMPERATURE, top_k=TOP_K, seed=seed
    )
    probes = parsed_probes(engine.template, [opening + text for text in written])
    if not probes:
        raise ShotsmithError(
            f"none of {len(written)} texts that the language model wrote has the form of the template",
            expected="at least one, as a probe for entropy ordering",
            remedy="Pass unlabelled examples as probes instead (--probes N).",
        )
    return probes
