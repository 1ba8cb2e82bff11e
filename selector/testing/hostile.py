"""Queries that selectors get wrong: members of the pool, members in disguise, and texts that are hardly any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from selector.data.pool import Pool, normalised_text
from selector.types import Example, Query


def disguised(example: Example, *, uid: str) -> Example | None:
    """Changes case, spacing and punctuation of an example, which leaves it the same text.

    Args:
        example: The example.
        uid: That of the copy.

    Returns:
        The copy; None where a text without words would become another one.
    """
    for changed in (str.upper, str):
        fields = {name: f"  {changed(text)} !!" for name, text in example.fields.items()}
        if normalised_text(fields) == normalised_text(example.fields):
            return Example(uid, fields, example.label)
    return None


def stranger(pool: Pool) -> Query:
    """Makes a query that shares no word with any pool.

    Args:
        pool: Gives the names of the fields.

    Returns:
        The query, without a label.
    """
    return Example("stranger", dict.fromkeys(pool[0].fields, "zzz qqq"))


def hostile_queries(pool: Pool) -> list[Query]:
    """Makes queries of every kind that selectors get wrong.

    Args:
        pool: A pool of five examples or more.

    Returns:
        Its first and last member, disguised members, one whose text was edited since, new texts made of parts of
        members, a stranger, and texts without any word; the last two kinds without a label.
    """
    twins = [disguised(pool[at], uid=f"twin-{at}") for at in (1, 4)]
    mixed = [_mixed(pool, at) for at in range(3)]
    edited = replace(_mixed(pool, 0), uid=pool[2].uid)
    odd = [Example(f"odd-{text}", dict.fromkeys(pool[0].fields, text)) for text in ("?!", "")]
    return [
        pool[0],
        pool[len(pool) - 1],
        *(one for one in twins if one is not None),
        edited,
        *mixed,
        stranger(pool),
        *odd,
    ]


def _mixed(pool: Pool, at: int) -> Query:
    """The first half of one member's words and the second half of another's, with a word that neither has."""
    fields = {}
    for name, text in pool[at].fields.items():
        words, others = text.split(), pool[at + 2].fields.get(name, "").split()
        fields[name] = " ".join([*words[: len(words) // 2], f"number{at}", *others[len(others) // 2 :]])
    return Example(f"mixed-{at}", fields, pool[at + 1].label)


def relabelled(queries: Sequence[Query], labels: Sequence[str | None]) -> list[Query]:
    """Gives queries other labels.

    Args:
        queries: N queries.
        labels: Labels in turn.

    Returns:
        N queries.
    """
    return [replace(query, label=labels[place % len(labels)]) for place, query in enumerate(queries)]
