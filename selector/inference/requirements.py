"""What template, scoring, calibration and language model must have in common before anything is asked."""

from __future__ import annotations

from selector.errors import OwnChoicesError, TemplateError, UsageError
from selector.inference.calibration import check_calibration
from selector.inference.scoring import scoring_function
from selector.lm.base import LanguageModel, require_exact_scores
from selector.prompting.template import PromptTemplate


def check_settings(lm: LanguageModel, template: PromptTemplate, *, scoring: str, calibration: str) -> None:
    """Makes sure that what an engine is built of goes together.

    Args:
        lm: The language model.
        template: The template.
        scoring: The name of a scoring function.
        calibration: The name of a calibration.

    Raises:
        UnknownNameError: When scoring or calibration is not known.
        UsageError: When targets are free text and scoring or calibration is not the default.
        OwnChoicesError: When calibration is over a batch of queries that have choices of their own.
        ServerCapabilityError: When scoring is not direct, or scores are calibrated, and the model's may be bounds.
    """
    check_calibration(calibration)
    scoring_function(scoring)
    if template.free_text and (scoring, calibration) != ("direct", "none"):
        raise UsageError(
            f"targets are free text, scoring is {scoring!r} and calibration {calibration!r}",
            expected="direct scoring without calibration",
            remedy="Correct [lm], or remove [prompt] answer_tokens.",
        )
    if template.multiple_choice and calibration == "batch":
        raise OwnChoicesError("batch calibration")
    if scoring != "direct":
        require_exact_scores(lm, f"{scoring} scoring", 'Set scoring = "direct"')
    if calibration != "none":
        require_exact_scores(lm, f"{calibration} calibration", 'Set calibration = "none"')


def require_shown_query(template: PromptTemplate) -> None:
    """Makes sure that a prompt shows something of its query.

    Args:
        template: The template.

    Raises:
        TemplateError: When all input fields stand behind `{label}`, which only channel scoring reads.
    """
    if not template.shows_query:
        raise TemplateError(
            f"template {template.template!r} shows nothing of a query before {{label}}",
            expected="an input field before {label}, or channel scoring",
            remedy='Put {label} behind the inputs in [prompt] template, or set [lm] scoring = "channel".',
        )
