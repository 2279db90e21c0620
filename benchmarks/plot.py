"""Charts as SVG, written by hand: a few lines and numbers need no library."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

_WIDTH, _HEIGHT = 420, 260
"""Of a panel, in pixels."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 30, 30, 60, 40
"""What the drawing leaves free of it."""
_NAMES, _VALUES = 140, 70
"""What the names of bars take, on the left of a panel, and their values on the right."""
_BAR = 20
"""From one bar to the next."""
_COLUMNS = 2
_HEAD = 40
_COLOURS = ("#1f6f8b", "#c0392b", "#7f8c1d")
_OTHERS = "#9fb4bc"
"""Of bars that are not marked."""
_STYLE = "text { font: 12px sans-serif; fill: #333 } .title { font-weight: bold } line { stroke: #bbb }"


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart: a line per series, of one value per label; a series without a name stands alone."""

    title: str
    labels: tuple[str, ...]
    series: dict[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Bars:
    """One chart of horizontal bars on a logarithmic scale, from top to bottom; all values are above 0."""

    title: str
    values: dict[str, float]


def draw(path: Path, title: str, panels: Sequence[Panel]) -> None:
    """Write the panels side by side, two to a row."""
    _write(path, title, [_panel(panel) for panel in panels], _HEIGHT)


def draw_bars(path: Path, title: str, panels: Sequence[Bars], marked: str = "") -> None:
    """Write the panels side by side, two to a row. The bar named `marked` has a colour of its own."""
    count = max((len(panel.values) for panel in panels), default=0)
    _write(path, title, [_bars(panel, marked) for panel in panels], _TOP + _BAR * count + _BOTTOM)


def _write(path: Path, title: str, panels: Sequence[Sequence[str]], panel_height: int) -> None:
    rows = -(-len(panels) // _COLUMNS)
    width, height = _COLUMNS * _WIDTH, _HEAD + rows * panel_height
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
        _text(_LEFT, 25, title, 'class="title"'),
    ]
    for number, panel in enumerate(panels):
        x, y = number % _COLUMNS * _WIDTH, _HEAD + number // _COLUMNS * panel_height
        parts += [f'<g transform="translate({x},{y})">', *panel, "</g>"]
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
            parts.append(_text(x, y - 8, _number(value), 'text-anchor="middle"'))
        if name:
            parts.append(_text(_LEFT + 120 * number, 38, name, f'style="fill: {colour}"'))
    return parts


def _bars(panel: Bars, marked: str) -> list[str]:
    """From the power of ten below the smallest value to the one above the largest."""
    first = math.ceil(math.log10(min(panel.values.values()))) - 1
    last = math.floor(math.log10(max(panel.values.values()))) + 1
    floor, decade = _TOP - _BAR + _BAR * len(panel.values), (_WIDTH - _VALUES - _NAMES) / (last - first)
    parts = [_text(_LEFT, 20, panel.title, 'class="title"')]
    for power in range(first, last + 1):
        x = _NAMES + (power - first) * decade
        parts.append(f'<line x1="{x:.0f}" y1="{_TOP - 20}" x2="{x:.0f}" y2="{floor}"/>')
        parts.append(_text(x, floor + 16, _number(10.0**power), 'text-anchor="middle"'))
    for number, (name, value) in enumerate(panel.values.items()):
        y, length = _TOP + number * _BAR - 16, (math.log10(value) - first) * decade
        colour = _COLOURS[0] if name == marked else _OTHERS
        parts.append(f'<rect x="{_NAMES}" y="{y}" width="{length:.1f}" height="{_BAR - 5}" fill="{colour}"/>')
        parts.append(_text(_NAMES - 6, y + 12, name, 'text-anchor="end"'))
        parts.append(_text(_NAMES + length + 4, y + 12, _number(value), ""))
    return parts


def _number(value: float) -> str:
    return f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"


def _text(x: float, y: float, text: str, more: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" {more}>{escape(text)}</text>'
