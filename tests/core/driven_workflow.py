"""A workflow run that a node drives, for the tests of its owner."""

from typing import Any

from meshflow.core.asks import Asks
from meshflow.core.effects import Effect, Send
from meshflow.core.messages import Signal, SignalAnswer
from meshflow.core.ownership import RunLog
from meshflow.core.records import DagStarted, Entry, RunRecord, Value
from meshflow.core.workflowowner import WorkflowOwner
from meshflow.core.workflowrun import WorkflowRun
from tests.core.builders import ANN, ME, WF, workflow, workflow_record
from tests.core.driven import WALL, Written, write

MAIN, SUB = DagStarted("d:1", "d", "autostart/d"), DagStarted("sub:1", "sub", "key")
"""A dag run that starts by itself, and one that a task starts."""


class Driven:
    """A workflow run that is driven, and what it asked of its store."""

    def __init__(
        self,
        *log: Entry,
        record: RunRecord | None = None,
        epoch: int = 1,
        autostart: str = "d",
        keeps_data: bool = False,
    ) -> None:
        self.asks = Asks()
        self.fold = WorkflowRun(workflow(autostart, "sub", clear_data_store=not keeps_data))
        for entry in log:
            self.fold.apply(entry)
        self.log = RunLog(WF, ME, epoch, 1, self.asks)
        record = record or workflow_record(started_at=1500.0)
        self.owner = WorkflowOwner(record, self.fold, self.log, self.asks)

    def begin(self, *, is_takeover: bool = False) -> list[Effect]:
        """Take charge."""
        return self.owner.begin([ME, ANN], is_takeover, WALL)

    def signal(self, action: str, key: str = "key", data: Value | None = None, **arguments: object) -> list[Effect]:
        """ANN asks something."""
        return self.owner.signal(ANN, Signal(WF, key, action, arguments, data), WALL)

    def flush(self) -> Written:
        """Have everything written."""
        return write(lambda: self.owner.flush(WALL), self.log)

    def signal_proven(self, action: str, key: str = "key", **arguments: Any) -> list[Effect]:
        """Signal, and give the answers, which wait for a proof that this node is still the owner."""
        assert self.signal(action, key, None, **arguments) == []
        before = self.log.next_seq
        entries, _, released = self.flush()
        assert entries == []
        assert self.log.next_seq == before + 1
        return released

    def open(self, *started: DagStarted) -> None:
        """Have these dag runs started, with their records in the store."""
        for each in started:
            self.fold.apply(each)
            self.owner.created(each.name)


def answer(key: str = "key", error: str = "", **result: object) -> Send:
    """The answer to ANN."""
    return Send(ANN, SignalAnswer(key, result, error))
