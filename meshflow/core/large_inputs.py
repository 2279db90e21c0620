"""Inputs of a job that are small one by one and together too much for a message: some of them go through the store.

A task of thousands of parents may get tens of megabytes of values that each travel with the job. No transport takes
such a message, however often it is sent. So the largest of them are put into the blobs of the run, where the node that
runs the task fetches them as it fetches every large value, and the job names them.

Invariants:
1. What stays in the job is at most `max_bytes`.
2. A value is put into the store once by one owner, however many tasks get it.
3. What goes to the store goes before all that is added to the log later, in batches of a bounded size.
"""

from collections.abc import Sequence
from dataclasses import replace

from meshflow.core.messages import Input
from meshflow.core.ownership import RunLog
from meshflow.core.records import Value
from meshflow.core.requests import PutBlob

_INPUT_BYTES = 64
"""What an input takes in a message beside its value, roughly."""


class LargeInputs:
    """The values that one owner of a dag run has put into the store so that its jobs fit into messages."""

    def __init__(self, log: RunLog, max_bytes: int) -> None:
        self._log = log
        self._max_bytes = max_bytes
        self._kept: dict[str, Value] = {}
        """By the name of the task whose result it is."""

    def fit(self, inputs: Sequence[Input]) -> tuple[Input, ...]:
        """The inputs as they may travel. If these are not the ones that were given, they must not leave before what is
        in the log by now has been written."""
        if not inputs:
            return ()
        total_bytes = inputs_bytes(inputs)
        fitting = list(inputs)
        for index in sorted(range(len(fitting)), key=lambda each: -len(fitting[each].value.inline)):
            if total_bytes <= self._max_bytes or not fitting[index].value.inline:
                break
            total_bytes -= len(fitting[index].value.inline)
            fitting[index] = replace(fitting[index], value=self._keep(fitting[index]))
        return tuple(fitting)

    def _keep(self, item: Input) -> Value:
        if item.task not in self._kept:
            data = item.value.inline
            key = f"value/{self._log.run}/inputs/{self._log.epoch}.{len(self._kept)}"
            self._kept[item.task] = Value(b"", key, len(data))
            self._log.add(requests=[PutBlob(self._log.run, key, data)], size_bytes=len(data))
        return self._kept[item.task]


def inputs_bytes(inputs: Sequence[Input]) -> int:
    """What the inputs take in a message, roughly."""
    return sum(_INPUT_BYTES + len(item.value.inline) for item in inputs)
