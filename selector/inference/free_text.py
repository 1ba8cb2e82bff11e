"""When a free-text answer counts as the gold one. A pure comparison of texts; no model is called here."""

from __future__ import annotations


def folded_text(text: str) -> str:
    """Folds case and white space, and nothing else: fit for SQL and logical forms.

    Args:
        text: An answer.

    Returns:
        The folded text.
    """
    return " ".join(text.casefold().split())


def exact_match(answer: str, gold: str) -> bool:
    """Compares texts without regard to case and white space.

    Nothing else is forgiven: this is stricter than SQuAD's exact match (Rajpurkar et al., 2016), which also passes over
    punctuation and articles, and fit for SQL and logical forms.

    Args:
        answer: What was answered.
        gold: What would have been right.

    Returns:
        Whether they are the same.
    """
    return folded_text(answer) == folded_text(gold)
