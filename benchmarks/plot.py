"""Charts as SVG, written by hand: a few lines and numbers need no library."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

_WIDTH, _HEIGHT = 420, 260
"""Of a panel, in pixels."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 30, 30, 60, 40
"""What the drawing leaves free of it."""
_COLUMNS = 2
_HEAD = 40
_COLOURS = ("#1f6f8b", "#c0392b", "#7f8c1d")
_STYLE = "text { font: 12px sans-serif; fill: #333 } .title { font-weight: bold } line { stroke: #bbb }"


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart: a line per series, of one value per label; a series without a name stands alone."""

    title: str
    labels: tuple[str, ...]
    series: dict[str, tuple[float, ...]]


def draw(path: Path, title: str, panels: Sequence[Panel]) -> None:
    """Write the panels side by side, two to a row."""
    rows = -(-len(panels) // _COLUMNS)
    width, height = _COLUMNS * _WIDTH, _HEAD + rows * _HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
        _text(_LEFT, 25, title, 'class="title"'),
    ]
    for number, panel in enumerate(panels):
        x, y = number % _COLUMNS * _WIDTH, _HEAD + number // _COLUMNS * _HEIGHT
        parts += [f'<g transform="translate({x},{y})">', *_panel(panel), "</g>"]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([*parts, "</svg>"]) + "\n", encoding="utf-8")


def _panel(panel: Panel) -> list[str]:
    floor, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    highest = max((value for values in panel.series.values() for value in values), default=0.0) or 1.0
    step = (right - _LEFT) / len(panel.labels)
    places = [_LEFT + (number + 0.5) * step for number in range(len(panel.labels))]
    parts = [
        _text(_LEFT, 20, panel.title, 'class="title"'),
        f'<line x1="{_LEFT}" y1="{floor}" x2="{right}" y2="{floor}"/>',
        *(_text(x, floor + 20, label, 'text-anchor="middle"') for x, label in zip(places, panel.labels, strict=True)),
    ]
    for number, (name, values) in enumerate(panel.series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        points = [(x, floor - value / highest * (floor - _TOP)) for x, value in zip(places, values, strict=True)]
        line = " ".join(f"{x:.0f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for (x, y), value in zip(points, values, strict=True):
            parts.append(f'<circle cx="{x:.0f}" cy="{y:.1f}" r="3" fill="{colour}"/>')
            parts.append(_text(x, y - 8, f"{value:,.4g}" if value < 1000 else f"{value:,.0f}", 'text-anchor="middle"'))
        if name:
            parts.append(_text(_LEFT + 120 * number, 38, name, f'style="fill: {colour}"'))
    return parts


def _text(x: float, y: float, text: str, more: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" {more}>{escape(text)}</text>'
