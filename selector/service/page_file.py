"""The page as one HTML file: style and script stand in it and are named to the browser by their hash."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from functools import cache
from pathlib import Path
from string import Template
from typing import Final

FOLDER: Final = Path(__file__).parent / "page"


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def service_page() -> tuple[str, str]:
    """Puts the page together.

    Returns:
        The HTML, and its content security policy: nothing but this style, this script, and requests to the service.
    """
    style, script, page = ((FOLDER / f"page.{ending}").read_text(encoding="utf-8") for ending in ("css", "js", "html"))
    policy = {
        "default-src": "'none'",
        "style-src": _hash(style),
        "script-src": _hash(script),
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    html = Template(page).substitute(style=style, script=script)
    return html, "; ".join(f"{name} {value}" for name, value in policy.items())
