"""The chart: a bar for each ratio that has a target, the target a line across them. Plain SVG, for light and dark."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

_WIDTH, _LABELS, _LINE, _BAR = 1040, 510, 26, 14
_LEGEND = "The upright line is the target; thin lines are the middle half; bars end at four times the target."
_STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .head { font-weight: 600 } .small { font-size: 12px }
  .axis { stroke: #8c959f; stroke-width: 1 } .target { stroke: #24292f; stroke-width: 2 }
  .met { fill: #2da44e } .missed { fill: #bf8700 } .spread { stroke: #57606a; stroke-width: 1.5 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .axis { stroke: #6e7681 } .target { stroke: #e6edf3 } .spread { stroke: #adbac7 }
    .met { fill: #3fb950 } .missed { fill: #d29922 }
  }
"""


def draw(rows: Iterable[Mapping[str, Any]]) -> str:
    """The ratios by their targets: at 1 a target is just met."""
    bars = [(row, against) for row in rows for against in row["against"] if against["target"] is not None]
    height = 64 + _LINE * len(bars) + 34
    most = max([2.0, *(min(4.0, _share(against, "high")) for _, against in bars)])
    scale = (_WIDTH - _LABELS - 120) / most
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img"'
        ' aria-label="Measured ratios as shares of their targets">',
        f"<style>{_STYLE}</style>",
        '<text class="head" x="12" y="24">Measured ratios as shares of their targets: shorter is better</text>',
        f'<text class="small" x="12" y="44">{_LEGEND}</text>',
    ]
    for number, (row, against) in enumerate(bars):
        parts += _bar(row, against, 64 + number * _LINE, scale, most)
    bottom = 64 + _LINE * len(bars)
    parts.append(f'<line class="axis" x1="{_LABELS}" x2="{_LABELS}" y1="58" y2="{bottom}"/>')
    at = _LABELS + scale
    parts.append(f'<line class="target" x1="{at:.1f}" x2="{at:.1f}" y1="58" y2="{bottom}"/>')
    parts.append(f'<text class="small" x="{at:.1f}" y="{bottom + 18}" text-anchor="middle">target</text>')
    return "\n".join([*parts, "</svg>", ""])


def _bar(row: Mapping[str, Any], against: Mapping[str, Any], top: float, scale: float, most: float) -> list[str]:
    label = f"{row['subject']}: {row['what']}, against {against['rival']}".replace("`", "")
    if len(label) > 74:
        label = label[:73] + "\u2026"
    median, low, high = (min(most, _share(against, name)) for name in ("median", "low", "high"))
    middle = top + _BAR / 2
    kind = "met" if median <= 1 else "missed"
    figure = f"{against['ratio']['median']:.2f} (target {against['target']:g})"
    right = _LABELS + scale * max(high, median, 1.0) + 8
    return [
        f'<text class="small" x="{_LABELS - 8}" y="{middle + 4:.1f}" text-anchor="end">{escape(label)}</text>',
        f'<rect class="{kind}" x="{_LABELS}" y="{top}" width="{scale * median:.1f}" height="{_BAR}" rx="2"/>',
        f'<line class="spread" x1="{_LABELS + scale * low:.1f}" x2="{_LABELS + scale * high:.1f}"'
        f' y1="{middle}" y2="{middle}"/>',
        f'<text class="small" x="{right:.1f}" y="{middle + 4:.1f}">{figure}</text>',
    ]


def _share(against: Mapping[str, Any], name: str) -> float:
    share: float = against["ratio"][name] / against["target"]
    return share
