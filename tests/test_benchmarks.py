"""What the benchmarks rely on: a word in a log that changes, or a wrong percentile, would be found late otherwise."""

import json
import logging
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.measure import Figure, percentile
from benchmarks.peer import calling
from benchmarks.plot import Bars, Panel, draw, draw_bars
from benchmarks.systems import NotAvailable, in_rounds, run
from benchmarks.tables import DOCUMENTS, filled, table
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


def test_a_chart_of_bars_is_logarithmic_and_names_every_bar(tmp_path: Path) -> None:
    path = tmp_path / "results" / "bars.svg"
    draw_bars(path, "Title", [Bars("calls/s", {"fast": 10_000.0, "slow & old": 10.0})], marked="fast")
    root = ElementTree.parse(path).getroot()
    space = "{http://www.w3.org/2000/svg}"
    long, short = [float(bar.attrib["width"]) for bar in root.findall(f".//{space}g/{space}rect")]
    assert long == pytest.approx(4 * short, abs=0.5)  # the scale begins at 1, a power of ten below the smallest
    assert {"fast", "slow & old", "10,000"} <= {text.text for text in root.iter(f"{space}text")}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.parent.name + "/" + path.name)
def test_tables_in_documents_are_those_that_were_measured(path: Path) -> None:
    """If it fails: `python -m benchmarks.tables` writes them."""
    text = path.read_text(encoding="utf-8")
    assert filled(text) == text


def test_each_document_has_tables() -> None:
    for path in DOCUMENTS:
        assert "<!-- measured: " in path.read_text(encoding="utf-8"), path


def test_a_table_has_a_row_for_each_system_and_says_what_is_missing() -> None:
    result = {
        "figures": [
            {"name": "no-ops, each, MeshFlow", "unit": "calls/s", "median": 12_345.6},
            {"name": "p50, MeshFlow", "unit": "ms", "median": 0.25},
            {"name": "p50, Other", "unit": "ms", "median": 12.34},
        ],
        "skipped": ["Third: there is\nno server", "no-ops, each, Other: too slow"],
        "measured_at": "2026-01-02T03:04:05Z",
        "machine": {"cores": 2, "processor": "CPU"},
        "commit": "abc",
        "versions": {"python": "3.11", "Other": "1"},
    }
    assert table(result) == (
        "| | no-ops, each (calls/s) | p50 (ms) |\n"
        "|---|---:|---:|\n"
        "| MeshFlow | 12,346 | 0.250 |\n"
        "| Other | - | 12.3 |\n"
        "| Third | - | - |\n"
        "\n"
        "Not measured: Third: there is no server\n"
        "\n"
        "Not measured: no-ops, each, Other: too slow\n"
        "\n"
        "Medians, measured on 2026-01-02 at commit abc with 2 cores (CPU). Versions: python 3.11; Other 1.\n"
    )


def test_a_figure_knows_its_subject_and_its_system() -> None:
    figure = Figure(f"{calling.CHUNKS}, RQ + Redis", "calls/s", (1.0,))
    assert (figure.subject, figure.series) == (calling.CHUNKS, "RQ + Redis")


def test_systems_take_turns_and_one_that_cannot_be_had_is_named_and_not_tried_again() -> None:
    tried: list[str] = []

    def measure(name: str) -> None:
        tried.append(name)
        if name == "b":
            raise NotAvailable("no server")

    assert in_rounds(["a", "b", "c"], 2, measure) == ("b: no server",)
    assert tried == ["a", "b", "c", "c", "a"]


def test_a_question_that_a_system_cannot_answer_is_told_with_the_reason(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(value: object) -> object:
        raise ValueError("too large")

    monkeypatch.setattr("sys.argv", ["peer", "0.001"])
    calling.report(calling.System("1.2", call=calling.same, call_each=list, echo=refuse))
    found = json.loads(capsys.readouterr().out)
    assert found["counts"][calling.NO_OPS] >= 100
    assert calling.P99 in found["values"]
    assert found["problems"] == {calling.BYTES: "ValueError: too large", calling.ARRAY: "ValueError: too large"}


def test_a_system_that_returns_something_else_is_not_given_a_figure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["peer", "0.001"])
    calling.report(calling.System("1.2", call=calling.same, call_each=lambda values: [0] * len(values)))
    found = json.loads(capsys.readouterr().out)
    assert calling.NO_OPS not in found["values"]
    assert calling.NO_OPS in found["problems"]


def test_daemons_that_a_command_leaves_are_ended() -> None:
    leave_one = (
        "import subprocess; print(subprocess.Popen(['sleep', '60'], start_new_session=True, stdout=-3, stderr=-3).pid)"
    )
    pid = int(run([sys.executable, "-c", leave_one], timeout_s=30.0))
    stat = Path(f"/proc/{pid}/stat")
    assert not stat.exists() or stat.read_text(encoding="utf-8").split()[2] == "Z"


def test_a_command_that_fails_or_takes_too_long_says_so() -> None:
    with pytest.raises(NotAvailable, match="failed with 3: no server"):
        run([sys.executable, "-c", "import sys; print('no server', file=sys.stderr); sys.exit(3)"], timeout_s=30.0)
    with pytest.raises(NotAvailable, match=r"did not end within 0\.1 s"):
        run(["sleep", "60"], timeout_s=0.1)
    with pytest.raises(NotAvailable, match="no-such-program"):
        run(["no-such-program"], timeout_s=1.0)
