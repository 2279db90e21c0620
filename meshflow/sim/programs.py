"""What simulated tasks do: short programs in place of pickled code, so that the core runs as it does with real tasks.

A program's result follows from its own name and its inputs, so that a checker can say what it had to be.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

from meshflow.core.graph import DagDefinition, DagSpec, Edge, TaskSpec, WorkflowSpec
from meshflow.core.messages import Job
from meshflow.core.records import State


class Options(TypedDict, total=False):
    """Fields of a TaskSpec, as the user sets them."""

    queue: str
    force_run: bool
    propagate_skip: bool
    retries: int
    retry_delay_s: float
    backoff: float
    timeout_s: float
    priority: int
    at_most_once: bool
    splits: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Program:
    """A task: work for `duration_s`, then send the signals in order, then end.

    `signals` are (action, argument) pairs: `("start_dag", "sub")`, `("join_dags", "sub:1")`, `("join_dags", "")` for
    all other dag runs, `("join_dags", "mine")` for those that this task has started, `("stop_workflow", "")`. Beside
    these, `("push", key)` and `("set", key)` write to the document, `("keep", key)` keeps a blob, and `("print", text)`
    prints. A task fails the first `failures` times it is run to its end, and ends in `state` after that. A mapped
    task is split into so many `rows`, and its instances do the rest.
    """

    duration_s: float = 0.01
    signals: tuple[tuple[str, str], ...] = ()
    state: State = State.COMPLETED
    limit: tuple[str, ...] | None = None
    failures: int = 0
    rows: int | None = None

    def encode(self) -> bytes:
        """The program in place of pickled code."""
        limit = None if self.limit is None else list(self.limit)
        return json.dumps(
            [
                self.duration_s,
                [list(signal) for signal in self.signals],
                self.state.value,
                limit,
                self.failures,
                self.rows,
            ]
        ).encode()

    @staticmethod
    def decode(code: bytes) -> "Program":
        """The program in `code`."""
        duration_s, signals, state, limit, failures, rows = json.loads(code)
        return Program(
            duration_s,
            tuple((action, argument) for action, argument in signals),
            State(state),
            None if limit is None else tuple(limit),
            failures,
            rows,
        )

    def of(self, *, is_split: bool) -> "Program":
        """What is done of it: to split lists takes as long as an instance does, and never fails."""
        if self.rows is None:
            return self
        return Program(self.duration_s, rows=self.rows) if is_split else replace(self, rows=None)

    def split(self, result: bytes) -> tuple[bytes, ...] | None:
        """The rows of a task with that result; None: it splits nothing."""
        return None if self.rows is None else tuple(result_of(f"row {index}", [result]) for index in range(self.rows))


def result_of(name: str, inputs: list[bytes]) -> bytes:
    """What a task of that name makes of its inputs."""
    return hashlib.blake2b(b"\x00".join([name.encode(), *inputs]), digest_size=8).digest()


def result_of_job(job: Job) -> bytes:
    """What the job's task must give."""
    return result_of(job.name, [item.value.inline for item in job.inputs])


def define(
    name: str,
    tasks: dict[str, Program],
    edges: Sequence[tuple[str, str]] = (),
    options: Mapping[str, Options] | None = None,
    *,
    autostart: bool = True,
    queue: str = "dag",
) -> DagDefinition:
    """A dag of programs. `edges` join names of parents and children; `options`: `{task name: fields of TaskSpec}`."""
    names = list(tasks)
    payloads: dict[str, bytes] = {}
    specs = []
    for task, program in tasks.items():
        code = program.encode()
        digest = _digest(code)
        payloads[digest] = code
        fields: Options = {"queue": "task", **(options or {}).get(task, {})}
        specs.append(TaskSpec(name=task, payload=digest, **fields))
    joined = tuple(Edge(names.index(parent), names.index(child)) for parent, child in edges)
    return DagDefinition(DagSpec(name, autostart, queue, tuple(specs), joined), payloads)


def workflow(name: str, dags: list[DagDefinition], *, clear_data_store: bool = True) -> WorkflowSpec:
    """A workflow of these dags."""
    return WorkflowSpec(
        name,
        "workflow",
        tuple(dag.spec.name for dag in dags),
        tuple(dag.spec.name for dag in dags if dag.spec.autostart),
        tuple(dag.spec.queue for dag in dags),
        clear_data_store,
    )


def mended(definition: DagDefinition) -> DagDefinition:
    """The dag with programs that neither fail nor abort the workflow."""
    codes = {digest: _mended(Program.decode(code)).encode() for digest, code in definition.payloads.items()}
    tasks = tuple(replace(task, payload=_digest(codes[task.payload])) for task in definition.spec.tasks)
    payloads = {_digest(code): code for code in codes.values()}
    return DagDefinition(replace(definition.spec, tasks=tasks), payloads)


def _mended(program: Program) -> Program:
    is_bad = program.state in (State.FAILED, State.ABORTED)
    return replace(program, failures=0, state=State.COMPLETED if is_bad else program.state)


def _digest(code: bytes) -> str:
    return hashlib.blake2b(code, digest_size=8).hexdigest()
