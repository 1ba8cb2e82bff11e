"""Explanations as one self-contained HTML page: bars of effects, maps of attention. It computes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from string import Template

import numpy as np

from selector.inspection.attention import AttentionMass, Shares
from selector.inspection.effects import Explanation

ROW, GUTTER, BAR, CELL = 24, 150, 110, 14
COLUMNS = ("influence", "own label", "range over places")
PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>$title</title>
<style>
:root { color-scheme: light dark; --back: #fcfcfa; --text: #1c2024; --quiet: #667079; --line: #dfe3e6; --for: #2563c9;
  --against: #b3372f; }
@media (prefers-color-scheme: dark) { :root { --back: #14171a; --text: #e8eaec; --quiet: #98a2ab; --line: #343a40;
  --for: #74a7ff; --against: #ff8f86; } }
body { margin: 0 auto; max-width: 960px; padding: 24px 16px 64px; background: var(--back); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 36px 0 4px; } p { margin: 0 0 8px; overflow-wrap: anywhere; }
.note { color: var(--quiet); font-size: .85rem; } .scroll { overflow-x: auto; }
ol { white-space: pre-line; overflow-wrap: anywhere; }
svg { font: 12px system-ui, sans-serif; } svg text { fill: var(--text); } svg .quiet { fill: var(--quiet); }
svg .axis { stroke: var(--line); } .for { fill: var(--for); } .against { fill: var(--against); }
</style>
</head>
<body>
<h1>$title</h1>
$body
</body>
</html>
""")


def page(
    title: str,
    explanations: Sequence[Explanation],
    masses: Sequence[AttentionMass] = (),
    induction: Shares | None = None,
) -> str:
    """Lays explanations out.

    Args:
        title: Of the page.
        explanations: One for each query.
        masses: One for each query, or none.
        induction: (layers, heads) scores, or None.

    Returns:
        HTML.
    """
    parts = []
    for number, own in enumerate(explanations):
        parts.append(_head(own))
        if own.effects:
            parts.append(f'<div class="scroll">{effects_chart(own)}</div>')
            parts.append(
                '<p class="note">Nats of the explained label. Influence: with the demonstration minus without it. Own '
                "label: with its label minus with another one, on average. Range: between its best and worst "
                "place.</p>"
            )
            if masses:
                names = [f"{place}" for place in range(1, len(own.effects) + 1)]
                mass = masses[number]
                columns = np.column_stack([mass.beginning, mass.demonstrations, mass.query])
                parts.append(f'<div class="scroll">{heat_map(columns, ["first", *names, "query"])}</div>')
                parts.append('<p class="note">Attention from the last position, by layer, mean over heads.</p>')
    if induction is not None:
        heads = [str(head) for head in range(induction.shape[1])]
        parts.append(f'<h2>Induction heads</h2><div class="scroll">{heat_map(induction, heads)}</div>')
        parts.append(
            '<p class="note">Prefix-matching score of each head on repeated random tokens (Olsson et al., 2022).</p>'
        )
    return PAGE.substitute(title=escape(title), body="\n".join(parts))


def effects_chart(explanation: Explanation) -> str:
    """Draws three bars for each demonstration.

    Args:
        explanation: Of one query.

    Returns:
        An SVG element.
    """
    rows = [(one.influence, one.flip, one.place_range) for one in explanation.effects]
    top = max((abs(value) for row in rows for value in row), default=0.0) or 1.0
    width, height = GUTTER + 2 * BAR * len(COLUMNS), ROW * (len(rows) + 1) + 8
    drawn = [f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="effects">']
    for column, name in enumerate(COLUMNS):
        middle = GUTTER + BAR * (2 * column + 1)
        drawn.append(f'<text class="quiet" x="{middle}" y="16" text-anchor="middle">{name}</text>')
        drawn.append(f'<line class="axis" x1="{middle}" x2="{middle}" y1="{ROW}" y2="{height}"/>')
    for number, (one, row) in enumerate(zip(explanation.effects, rows, strict=True)):
        y = ROW * (number + 1)
        label = one.label if len(one.label) <= 16 else one.label[:15] + "…"
        drawn.append(f'<text x="4" y="{y + 16}">{number + 1}. {escape(label)}</text>')
        for column, value in enumerate(row):
            middle, length = GUTTER + BAR * (2 * column + 1), 0.55 * BAR * abs(value) / top
            left = middle if value >= 0 else middle - length
            kind, anchor = ("for", "start") if value >= 0 else ("against", "end")
            place = middle + (length + 4) * (1 if value >= 0 else -1)
            drawn.append(f'<rect class="{kind}" x="{left:.1f}" y="{y + 5}" width="{length:.1f}" height="14"/>')
            drawn.append(f'<text class="quiet" x="{place:.1f}" y="{y + 16}" text-anchor="{anchor}">{value:+.2f}</text>')
    return "".join([*drawn, "</svg>"])


def heat_map(shares: Shares, columns: Sequence[str]) -> str:
    """Draws a map, one row for each layer.

    Args:
        shares: (layers, C) of 0 to 1.
        columns: C names.

    Returns:
        An SVG element.
    """
    cell = 3 * CELL
    width, height = 60 + cell * len(columns), CELL * len(shares) + 26
    top = float(shares.max(initial=0.0)) or 1.0
    drawn = [f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="map">']
    drawn += [
        f'<text class="quiet" x="{60 + cell * (place + 0.5):.1f}" y="14" text-anchor="middle">{escape(name)}</text>'
        for place, name in enumerate(columns)
    ]
    for layer, row in enumerate(shares):
        y = 22 + CELL * layer
        drawn.append(f'<text class="quiet" x="52" y="{y + 11}" text-anchor="end">{layer}</text>')
        drawn += [
            f'<rect class="for" x="{60 + cell * place}" y="{y}" width="{cell - 1}" height="{CELL - 1}" '
            f'opacity="{max(0.0, value) / top:.3f}"><title>layer {layer}, {escape(name)}: {value:.3f}</title></rect>'
            for place, (name, value) in enumerate(zip(columns, row, strict=True))
        ]
    return "".join([*drawn, "</svg>"])


def _head(own: Explanation) -> str:
    asked = " / ".join(own.query.fields.values())
    kind = "gold" if own.gold else "predicted"
    shown = "".join(
        f"<li>{escape(' / '.join(one.fields.values()))} <b>{escape(one.label)}</b></li>" for one in own.effects
    )
    return (
        f"<h2>{escape(asked)}</h2><p>Answer: <b>{escape(own.predicted)}</b>. Explained: {escape(own.explained)} "
        f"({kind}), {own.logprob:.3f} nats with all demonstrations, {own.zero_shot:.3f} without any.</p>"
        f"<ol>{shown}</ol>"
    )
