"""The task processes of one simulated node: each runs a program (`programs.py`) in place of pickled code.

Processes go on while their node is paused, as real ones do; what they say waits for it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from meshflow.core.attempts import Attempt
from meshflow.core.effects import AnswerTask
from meshflow.core.messages import Finished, Job
from meshflow.core.node import Node
from meshflow.core.records import State, Value
from meshflow.core.requests import ExtendField, PutBlob, Request, SetFields, WriteOutput
from meshflow.ids import workflow_of
from meshflow.sim.commits import Commits
from meshflow.sim.programs import Program, result_of_job
from meshflow.sim.world import Execution, Life, World

_KILL_S = 0.001
"""Seconds from the order to kill a process until its end is seen."""

_ANSWER_S = 0.0001
"""Seconds that an answer takes to the process."""


@dataclass(slots=True)
class _Process:
    job: Job
    program: Program
    execution: Execution
    step: int = 0
    """How many signals it has sent."""
    started: list[str] = field(default_factory=list)
    """The dag runs it has started."""

    @property
    def action(self) -> str:
        """What it asked last."""
        return self.program.signals[self.step - 1][0]

    def arguments(self) -> dict[str, object]:
        """What goes with its last signal, as `meshflow.models.signal` has it."""
        action, argument = self.program.signals[self.step - 1]
        match action:
            case "join_dags":
                return {"names": {"": None, "mine": list(self.started)}.get(argument, [argument])}
            case "stop_workflow":
                return {}
            case _:
                return {"name": argument}

    def write(self) -> Request | None:
        """What its last step asks of the store; None: nothing."""
        action, key = self.program.signals[self.step - 1]
        attempt, name = self.job.attempt, self.job.name
        run = workflow_of(attempt.run)
        match action:
            case "push":
                token = f"{attempt}/{self.step}"
                return ExtendField(run, "data", key, (name,), token)
            case "set":
                return SetFields(run, "data", {f"{key}.{name}": attempt.attempt})
            case "keep":
                return PutBlob(run, f"kept/{key}/{name}", name.encode())
            case _:
                return None


class Tasks:
    """What runs on one node. `heard` is called after the core was told something."""

    def __init__(self, world: World, life: Life, core: Node, commits: Commits, heard: Callable[[], None]) -> None:
        self._world = world
        self._commits = commits
        self._life = life
        self._core = core
        self._heard = heard
        self._slots = core.membership.me.slots
        self._processes: dict[Attempt, _Process] = {}
        self._waiting: dict[Attempt, tuple[Job, bytes]] = {}

    def __len__(self) -> int:
        return len(self._processes) + len(self._waiting)

    def resize(self, slots: int) -> None:
        """Run so many at a time from now on."""
        self._slots = slots
        self._fill()

    def start(self, job: Job, code: bytes) -> None:
        """Run a job when there is a slot for it."""
        assert job.attempt not in self._processes, f"{job.attempt} is running here already"
        assert job.attempt not in self._waiting, f"{job.attempt} is waiting here already"
        self._waiting[job.attempt] = (job, code)
        self._fill()

    def recall(self, attempts: Sequence[Attempt]) -> None:
        """Take back what has not begun."""
        for attempt in attempts:
            if self._waiting.pop(attempt, None) is not None:
                self._core.task_returned(attempt)

    def _fill(self) -> None:
        while self._waiting and len(self._processes) < self._slots:
            attempt = next(iter(self._waiting))
            self._begin(*self._waiting.pop(attempt))

    def _begin(self, job: Job, code: bytes) -> None:
        program = Program.decode(code).of(is_split=not job.mapped)
        inputs = tuple(item.task for item in job.inputs)
        now = self._world.clock.now
        execution = Execution(job.attempt, job.name, self._core.id, now, inputs, result_of_job(job))
        self._world.executions.append(execution)
        self._world.trace("start", self._core.id, repr(job.attempt))
        self._processes[job.attempt] = process = _Process(job, program, execution)
        self._later(program.duration_s * self._life.slowness, process, self._continue)
        if job.timeout_s is not None:
            self._later(job.timeout_s, process, lambda process: self._end(process, "timed out"))

    def kill(self, attempt: Attempt, reason: str) -> None:
        """End the attempt's process."""
        if attempt in self._processes:
            self._later(_KILL_S, self._processes[attempt], lambda process: self._end(process, reason))
        elif attempt in self._waiting:
            del self._waiting[attempt]
            now = self._world.clock.now
            self._core.task_finished(Finished(attempt, State.FAILED, Value(), None, reason, now, now), now)

    def answer(self, answer: AnswerTask) -> None:
        """The signal that the process waits for is answered."""
        process = self._processes.get(answer.attempt)
        if process is None:
            return
        assert answer.call == process.step, f"{answer} came to a process that has asked {process.step} times"
        if process.action == "start_dag" and isinstance(answer.result, dict) and answer.result["dag_name"]:
            process.started.append(answer.result["dag_name"])
        if process.action == "join_dags" and not answer.error:
            process.execution.joined.append((self._world.clock.now, tuple(process.started)))
        self._later(_ANSWER_S, process, self._continue)

    def end_all(self) -> None:
        """The node is killed, and its processes with it."""
        self._processes.clear()
        self._waiting.clear()

    def _later(self, seconds: float, process: _Process, action: Callable[[_Process], None]) -> None:
        def act() -> None:
            if self._processes.get(process.job.attempt) is process:
                action(process)

        self._world.clock.after(seconds, lambda: self._life.do(act))

    def _continue(self, process: _Process) -> None:
        """Send the next signal, or end."""
        if process.step == len(process.program.signals):
            self._end(process, "")
            return
        process.step += 1
        attempt, now = process.job.attempt, self._world.clock.now
        if process.action == "print":
            self._print(process)
            return
        if (write := process.write()) is not None:
            self._write(write, process)
            return
        self._core.task_signal(attempt, process.step, process.action, process.arguments(), None, now)
        self._heard()

    def _write(self, request: Request, process: _Process) -> None:
        def reply(answers: Sequence[object]) -> None:
            assert answers == [True], f"{request} was answered {answers}"
            self._later(_ANSWER_S, process, self._continue)

        self._commits.ask_for_task([request], reply)

    def _print(self, process: _Process) -> None:
        job, now = process.job, self._world.clock.now
        text = process.program.signals[process.step - 1][1].encode()
        offset = len(text) * (process.step - 1)
        chunk = WriteOutput(job.attempt.run, job.name, job.attempt.attempt, "stdout", offset, text, now)
        self._core.task_output(job.attempt, chunk, now)
        self._heard()
        self._later(_ANSWER_S, process, self._continue)

    def _end(self, process: _Process, killed: str) -> None:
        attempt, program, now = process.job.attempt, process.program, self._world.clock.now
        del self._processes[attempt]
        task = (attempt.run, attempt.task)
        must_fail = not killed and self._world.failures[task] < program.failures
        self._world.failures[task] += must_fail
        state = State.FAILED if killed or must_fail else program.state
        reason = killed or ("" if state is State.COMPLETED else f"it was told to end as {state.value}")
        execution = process.execution
        execution.ended_at, execution.state = now, state
        value = Value(execution.result) if state is State.COMPLETED else Value()
        rows = program.split(execution.result) if state is State.COMPLETED else None
        values = None if rows is None else tuple(map(Value, rows))
        times = (execution.started_at, now)
        self._core.task_finished(Finished(attempt, state, value, program.limit, reason, *times, values), now)
        self._fill()
        self._heard()
