"""What the benchmarks rely on: a word in a log that changes, or a wrong percentile, would be found late otherwise."""

import logging
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.measure import percentile
from benchmarks.plot import Panel, draw
from benchmarks.watched import DIED, JOINED, SUSPECTED, told_in
from meshflow.core.events import Event, MemberDied, MemberJoined, MemberLeft, MemberSuspected
from meshflow.runtime.event_log import log_event
from tests.core.builders import ANN, member

ANN_NAMED = member(ANN, name="host1-7")


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (MemberJoined(ANN_NAMED), (JOINED, "host1-7")),
        (MemberSuspected(ANN_NAMED), (SUSPECTED, "host1-7")),
        (MemberDied(ANN_NAMED), (DIED, "host1-7")),
        (MemberLeft(ANN_NAMED), None),
    ],
)
def test_the_log_of_a_node_tells_what_it_believes(
    event: Event, told: tuple[str, str] | None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        log_event(event)
    assert told_in(f"12:00:00 INFO {caplog.messages[0]}") == told


def test_a_percentile_is_one_of_the_values() -> None:
    values = [float(value) for value in range(1, 101)]
    assert [percentile(values, share) for share in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert percentile([3.0, 1.0, 2.0], 0.99) == 3.0


def test_a_chart_is_an_image_with_a_line_per_series(tmp_path: Path) -> None:
    path = tmp_path / "results" / "chart.svg"
    panels = [
        Panel("Costs <now>", ("1", "10"), {"": (0.0, 0.0)}),
        Panel("p", ("1",), {"with": (1.5,), "without": (9.0,)}),
    ]
    draw(path, "Title", panels)
    root = ElementTree.parse(path).getroot()
    space = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f".//{space}polyline")) == 3
    texts = [text.text for text in root.iter(f"{space}text")]
    assert {"Title", "Costs <now>", "without", "1.5"} <= set(texts)
