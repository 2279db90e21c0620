"""A worker and its jobs, for the tests of the pulling end."""

from typing import Any

from meshflow.core.asks import Asks
from meshflow.core.attempts import Attempt
from meshflow.core.effects import Ask, Effect, Send, Start
from meshflow.core.messages import Demand, Job, Message, Report, Reports, Signal, Work
from meshflow.core.worker import Worker
from meshflow.core.worker_settings import WorkerSettings
from meshflow.ids import NodeId
from tests.core.builders import ANN, RUN, attempt, finished

CODE = "digest"


def job(of: Attempt, payload: str = CODE) -> Job:
    """The job for an attempt."""
    return Job(of, f"task {of.task}", "w", "task", payload, (), None)


def sent(effects: list[Effect], *kinds: type[Message]) -> list[Message]:
    """The messages of these classes in `effects`; of all classes if none is named."""
    messages = [effect.message for effect in effects if isinstance(effect, Send)]
    return [message for message in messages if not kinds or isinstance(message, kinds)]


def begun(effects: list[Effect]) -> list[int]:
    """The tasks that are started in `effects`."""
    return [effect.job.attempt.task for effect in effects if isinstance(effect, Start)]


class Working:
    """A worker of two slots that ANN gives work."""

    def __init__(self, **settings: Any) -> None:
        self.asks = Asks()
        self.worker = Worker(WorkerSettings(**{"slots": 2, "ahead_s": 0.0} | settings), self.asks)

    def get(
        self, *attempts: Attempt, of: NodeId = ANN, now: float = 0.0, backlog: int = 0, codes: tuple[str, ...] = (CODE,)
    ) -> list[Effect]:
        """Jobs for these attempts come, and all that follows at once."""
        jobs = tuple(job(each) for each in attempts)
        self.worker.work(of, Work(jobs, dict.fromkeys(codes, b"code"), backlog), now)
        return self.worker.flush(now)

    def offer(self, of: NodeId = ANN, now: float = 0.0, share: int = 100) -> list[Demand]:
        """The owner offers work; gives what it is granted."""
        self.worker.offered(of, share)
        return [each for each in sent(self.worker.flush(now), Demand) if isinstance(each, Demand)]

    def run(self, *tasks: int, now: float = 0.0) -> None:
        """Have the first attempts at these tasks run."""
        assert begun(self.get(*(attempt(each) for each in tasks), now=now)) == list(tasks)


def busy() -> Working:
    """It runs one task, has finished another, and waits for an answer, all of a run of ANN."""
    working = Working(slots=2)
    working.run(0, 1)
    working.worker.finished(finished(attempt(1)), 0.01)
    working.worker.signal(attempt(0), 1, "stop_dag", {}, None, 0.01)
    effects = working.worker.flush(0.01)
    assert (receivers(effects, Reports), receivers(effects, Signal)) == ([ANN], [ANN])
    return working


def receivers(effects: list[Effect], kind: type[Message]) -> list[NodeId]:
    """To whom messages of that class are sent in `effects`."""
    return [effect.to for effect in effects if isinstance(effect, Send) and isinstance(effect.message, kind)]


def asked(effects: list[Effect]) -> list[tuple[object, ...]]:
    """What is asked of the store in `effects`."""
    return [effect.requests for effect in effects if isinstance(effect, Ask)]


def reports(*of: Report, first: int = 1, granted: int = 0, received: int = 0) -> Reports:
    """The message with these reports."""
    return Reports(RUN, first, 1, of, granted, received)
