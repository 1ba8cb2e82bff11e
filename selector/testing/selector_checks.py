"""The laws of every selector, each a function by its name, and `check_selector`, which checks them all.

Nothing here knows how a selector chooses; `docs/extending.md` says how to write one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from selector.data.pool import Pool, normalised_text
from selector.errors import ExtraMissingError, LawBrokenError, TooFewExamplesError
from selector.strategies.base import Selector
from selector.testing.hostile import disguised, relabelled, stranger
from selector.testing.laws import Law, check_laws, first_difference
from selector.testing.selector_trial import NO_FACTORY, SelectorFactory, SelectorPromises, SelectorTrial
from selector.types import Query, Selection

NEAR: Final = 0.8


def one_selection_for_each_query(trial: SelectorTrial) -> str | None:
    """Queries come in batches, and a list holds one Selection for each of them."""
    for k in trial.promises.shots:
        found = trial.answers(k)
        wrong = not isinstance(found, list) or any(not isinstance(one, Selection) for one in found)
        if wrong or len(found) != len(trial.queries):
            raise LawBrokenError(
                "one_selection_for_each_query",
                found=f"{len(trial.queries)} queries gave {type(found).__name__} {str(found)[:80]}",
                expected="a list with one Selection for each query, in their order",
                remedy="Return [Selection(indices, scores) for query in queries].",
            )
    return None


def an_empty_batch_gives_nothing(trial: SelectorTrial) -> str | None:
    """No queries give no selections."""
    for k in trial.promises.shots:
        if (found := trial.selector.select([], k)) != []:
            raise LawBrokenError(
                "an_empty_batch_gives_nothing",
                found=f"no query gave {found!r}",
                expected="[]",
                remedy="Return early where there is no query.",
            )
    return None


def k_demonstrations_are_chosen(trial: SelectorTrial) -> str | None:
    """As many demonstrations as were asked for, or no more where a selector may choose fewer."""
    exactly = trial.promises.exactly_k
    bad = trial.first_that(lambda _, one, k: len(one.indices) != k if exactly else len(one.indices) > k)
    if bad is not None:
        query, selection, k = bad
        raise LawBrokenError(
            "k_demonstrations_are_chosen",
            found=f"{len(selection.indices)} demonstrations for query {query.uid!r}",
            expected=f"{'' if exactly else 'at most '}{k}",
            remedy="Look beyond those that leave-one-out takes away; say exactly_k=False if fewer may be chosen.",
        )
    return None


def positions_are_distinct_and_of_the_pool(trial: SelectorTrial) -> str | None:
    """Indices are positions in the pool, whole numbers, none of them twice."""
    size = len(trial.pool)

    def fails(_: Query, selection: Selection, __: int) -> bool:
        own = selection.indices
        return len(set(own)) != len(own) or any(type(at) is not int or not 0 <= at < size for at in own)

    if (bad := trial.first_that(fails)) is not None:
        raise LawBrokenError(
            "positions_are_distinct_and_of_the_pool",
            found=f"indices {bad[1].indices!r} for query {bad[0].uid!r}",
            expected=f"distinct whole numbers from 0 to {size - 1}, of Python's int",
            remedy="Turn numpy's numbers into int, and take none twice.",
        )
    return None


def scores_are_finite_and_rise(trial: SelectorTrial) -> str | None:
    """One finite score for each index; in a ranking the best stands last, next to the query."""

    def fails(_: Query, selection: Selection, __: int) -> bool:
        own = selection.scores
        if len(own) != len(selection.indices) or not all(math.isfinite(score) for score in own):
            return True
        return trial.promises.ranked and list(own) != sorted(own)

    if (bad := trial.first_that(fails)) is not None:
        raise LawBrokenError(
            "scores_are_finite_and_rise",
            found=f"scores {bad[1].scores!r} for indices {bad[1].indices!r}",
            expected="one finite score for each index" + (", the highest last" if trial.promises.ranked else ""),
            remedy="Higher is better and the best stands last: turn a ranking round, and a distance into its negative.",
        )
    return None


def the_query_is_never_shown(trial: SelectorTrial) -> str | None:
    """Neither the query itself, by its uid, nor its duplicate, by its text, is a demonstration for it."""

    def fails(query: Query, selection: Selection, _: int) -> bool:
        return bool(_shown_twins(trial.pool, query, selection))

    if (bad := trial.first_that(fails)) is not None:
        raise _shown("the_query_is_never_shown", trial.pool, bad[0], bad[1])
    return None


def what_one_query_sees_another_may_not(trial: SelectorTrial) -> str | None:
    """Members that are shown to a stranger, and their disguised copies, do not see themselves.

    A set that is chosen once for all queries, or an answer that is kept, is caught here.
    """
    for k in filter(None, trial.promises.shots):
        [shown] = trial.selector.select([stranger(trial.pool)], k)
        members = [trial.pool[index] for index in shown.indices]
        copies = [disguised(one, uid=f"copy-{one.uid}") for one in members]
        asked = [*members, *(one for one in copies if one is not None)]
        for query, selection in zip(asked, trial.selector.select(asked, k), strict=True):
            if _shown_twins(trial.pool, query, selection):
                raise _shown("what_one_query_sees_another_may_not", trial.pool, query, selection)
            if trial.promises.exactly_k and len(selection.indices) != k:
                raise LawBrokenError(
                    "what_one_query_sees_another_may_not",
                    found=f"{len(selection.indices)} demonstrations for {query.uid!r}, which is one of those shown",
                    expected=f"{k}",
                    remedy="Let another member take the place of what leave-one-out takes away.",
                )
    return None


def a_family_of_duplicates_is_left_out(trial: SelectorTrial) -> str | None:
    """Where the nearest members are all copies of the query, the others are shown, every one of them."""
    if trial.build is None:
        return NO_FACTORY
    first = next((one for one in trial.pool if disguised(one, uid="x") is not None), None)
    if first is None:
        return "no member of the pool holds a word"
    others = [one for one in trial.pool if normalised_text(one.fields) != normalised_text(first.fields)][:3]
    if not others:
        return "all members of the pool are duplicates"
    copies = [disguised(first, uid=f"family-{at}") for at in range(5)]
    pool = Pool([others[0], *(one for one in copies if one is not None), first, *others[1:]])
    query = replace(first, uid="one-more-of-the-family")
    _all_but_duplicates(trial, "a_family_of_duplicates_is_left_out", pool, query)
    return None


def near_duplicates_are_left_out(trial: SelectorTrial) -> str | None:
    """Where a pool counts nearly equal texts as duplicates, they are none the less left out."""
    if trial.build is None:
        return NO_FACTORY
    first = max(trial.pool, key=lambda one: min(map(len, one.fields.values())))
    copy = replace(first, uid="near-copy", fields={name: f"{text}x" for name, text in first.fields.items()})
    others = [one for one in trial.pool if one.uid != first.uid][:6]
    pool = Pool([copy, *others, first], near_duplicates=NEAR)
    query = replace(first, uid="asks")
    try:
        if not pool.duplicates_of(query) > Pool([copy, *others, first]).duplicates_of(query):
            return "the texts of the pool are too short to have near duplicates"
    except ExtraMissingError as error:
        return str(error)
    _all_but_duplicates(trial, "near_duplicates_are_left_out", pool, query)
    return None


def too_few_examples_are_named(trial: SelectorTrial) -> str | None:
    """Where leave-one-out leaves fewer than k, that is an error which says how many there are."""
    pool = trial.pool if trial.build is None else trial.pool.subset(range(min(4, len(trial.pool))))
    selector = trial.selector if trial.build is None else trial.made(pool)
    available = len(pool) - len(pool.duplicates_of(pool[0]))
    try:
        [found] = selector.select([pool[0]], len(pool))
    except TooFewExamplesError as error:
        if error.available == available and error.wanted == len(pool):
            return None
        told = f"an error that tells of {error.available} examples where {error.wanted} are wanted"
    else:
        if not trial.promises.exactly_k and len(found.indices) <= available:
            return None
        told = f"{len(found.indices)} demonstrations where {available} may be shown"
    raise LawBrokenError(
        "too_few_examples_are_named",
        found=told,
        expected=f"TooFewExamplesError with available={available} and wanted={len(pool)}",
        remedy="Call selector.strategies.base.require_enough(pool, query, k) before choosing.",
    )


def the_same_question_has_the_same_answer(trial: SelectorTrial) -> str | None:
    """Asking again, and asking another selector made alike, changes nothing."""
    for k in trial.promises.shots:
        first = trial.answers(k)
        for name, selector in (("the same selector", trial.selector), ("another one made alike", trial.again)):
            found = selector.select(trial.queries, k)
            place = first_difference(first, found, tolerance=trial.promises.tolerance)
            if place is not None:
                raise LawBrokenError(
                    "the_same_question_has_the_same_answer",
                    found=f"{first[place]} and then, from {name}, {found[place]}",
                    expected=f"the same for query {trial.queries[place].uid!r}",
                    remedy="Make randomness an argument: seed a generator with the seed and the query's uid.",
                )
    return None


def an_answer_does_not_depend_on_its_batch(trial: SelectorTrial) -> str | None:
    """Queries asked one by one, from the last to the first, and in halves, get what they got together."""
    half = len(trial.queries) // 2
    for k in trial.promises.shots:
        together = trial.answers(k)
        alone = [trial.again.select([query], k)[0] for query in reversed(trial.queries)][::-1]
        second = trial.again.select(trial.queries[half:], k)
        parts = [*trial.again.select(trial.queries[:half], k), *second]
        for name, found in (("alone", alone), ("in another batch", parts)):
            place = first_difference(together, found, tolerance=trial.promises.tolerance)
            if place is not None:
                raise LawBrokenError(
                    "an_answer_does_not_depend_on_its_batch",
                    found=f"{together[place]} in a batch and {found[place]} {name}",
                    expected=f"the same for query {trial.queries[place].uid!r}",
                    remedy="Let no query see another, and draw for each query by its uid.",
                )
    return None


def the_gold_label_is_not_looked_at(trial: SelectorTrial) -> str | None:
    """A selector that sees the answer is an upper bound, and has to say so."""
    if trial.promises.reads_gold_label:
        return "the selector says that it reads the gold label"
    labels = trial.pool.labels
    for k in trial.promises.shots:
        for given in ((None,), labels, labels[::-1]):
            found = trial.again.select(relabelled(trial.queries, given), k)
            place = first_difference(trial.answers(k), found, tolerance=trial.promises.tolerance)
            if place is not None:
                raise LawBrokenError(
                    "the_gold_label_is_not_looked_at",
                    found=f"{trial.answers(k)[place]} and, with other labels, {found[place]}",
                    expected=f"the same for query {trial.queries[place].uid!r}, whatever its label",
                    remedy="Choose by the query's fields alone, or say reads_gold_label=True.",
                )
    return None


SELECTOR_LAWS: Final[tuple[Law[SelectorTrial], ...]] = (
    one_selection_for_each_query,
    an_empty_batch_gives_nothing,
    k_demonstrations_are_chosen,
    positions_are_distinct_and_of_the_pool,
    scores_are_finite_and_rise,
    the_query_is_never_shown,
    what_one_query_sees_another_may_not,
    a_family_of_duplicates_is_left_out,
    near_duplicates_are_left_out,
    too_few_examples_are_named,
    the_same_question_has_the_same_answer,
    an_answer_does_not_depend_on_its_batch,
    the_gold_label_is_not_looked_at,
)


def check_selector(
    make: SelectorFactory | Selector,
    *,
    pool: Pool | None = None,
    queries: Sequence[Query] | None = None,
    promises: SelectorPromises | None = None,
) -> dict[str, str]:
    """Checks that a selector keeps the laws of all selectors.

    Args:
        make: A function that makes the selector for a pool, such as its class; or a selector, for which the laws that
            need pools of their own are passed over.
        pool: The pool to choose from, of five examples or more; by default 24 planted reviews.
        queries: What is asked; by default members, disguised members, strangers and texts without words.
        promises: What it says of itself, beyond what all must keep.

    Returns:
        Name to reason of every law that could not be checked.

    Raises:
        LawBrokenError: When it breaks one; the message says which, and how to put it right.
        UsageError: When a selector is given without its pool.
    """
    return check_laws(SELECTOR_LAWS, SelectorTrial(make, pool=pool, queries=queries, promises=promises))


def _shown_twins(pool: Pool, query: Query, selection: Selection) -> list[int]:
    """The positions shown that a query must not see; told from the examples, whatever the pool says."""
    text = normalised_text(query.fields)
    excluded = pool.duplicates_of(query)
    return [
        index
        for index in selection.indices
        if index in excluded or pool[index].uid == query.uid or normalised_text(pool[index].fields) == text
    ]


def _shown(law: str, pool: Pool, query: Query, selection: Selection) -> LawBrokenError:
    twin = pool[_shown_twins(pool, query, selection)[0]]
    return LawBrokenError(
        law,
        found=f"query {query.uid!r} is shown {twin.uid!r}, which is itself or its duplicate",
        expected="neither, by uid or by text",
        remedy="Leave out pool.duplicates_of(query); do not believe that the first hit is the query.",
    )


def _all_but_duplicates(trial: SelectorTrial, law: str, pool: Pool, query: Query) -> None:
    """Asks for all that leave-one-out leaves of a small pool, which is no more and no less."""
    left = set(range(len(pool))) - pool.duplicates_of(query)
    [found] = trial.made(pool).select([query], len(left))
    if _shown_twins(pool, query, found):
        raise _shown(law, pool, query, found)
    if trial.promises.exactly_k and set(found.indices) != left:
        raise LawBrokenError(
            law,
            found=f"{sorted(found.indices)} of the positions {sorted(left)} that may be shown",
            expected="all of them, as many as were asked for",
            remedy="Ask an index for k and as many more as the query has duplicates.",
        )
