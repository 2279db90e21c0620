"""From jobs that wait to the messages that carry them, in batches of a bounded size."""

from collections.abc import Mapping, Sequence

from meshflow.core.agenda import Agenda
from meshflow.core.dagowner import DagOwner
from meshflow.core.dispatch import Dispatcher
from meshflow.core.effects import Effect, Send
from meshflow.core.large_inputs import inputs_bytes
from meshflow.core.messages import Job, Offer, Work
from meshflow.core.queue import Waiting
from meshflow.ids import NodeId, RunId

_MAX_MESSAGE_BYTES = 8 * 1024 * 1024
"""A message that is larger than this carries one job."""


def hand_out(dispatcher: Dispatcher, dags: Mapping[RunId, DagOwner], agenda: Agenda, now: float) -> list[Effect]:
    """Send jobs to who has credit for them, and offers to who should grant some."""
    effects: list[Effect] = []
    for handout in dispatcher.pump(now):
        jobs: list[Job] = []
        for waiting in handout.jobs:
            job = _job(dispatcher, dags.get(waiting.run), waiting, handout.to, now)
            if job is not None:
                jobs.append(job)
        for run in dict.fromkeys(waiting.run for waiting in handout.jobs):
            agenda.touch(run)
        effects += _messages(dispatcher, dags, jobs, handout.to, handout.backlog)
    return effects + [Send(to, Offer(queues)) for to, queues in dispatcher.offers(now)]


def _job(dispatcher: Dispatcher, dag: DagOwner | None, waiting: Waiting, to: NodeId, now: float) -> Job | None:
    if dag is None or not dag.is_waiting(waiting.task):
        dispatcher.refund(to)
        return None
    return dag.hand_out(waiting.task, to, now)


def _messages(
    dispatcher: Dispatcher, dags: Mapping[RunId, DagOwner], jobs: Sequence[Job], to: NodeId, backlog: int
) -> list[Effect]:
    messages: list[Effect] = []
    batch: list[Job] = []
    codes: dict[str, bytes] = {}
    known: dict[str, None] = {}
    """Digests of code that goes to the node with these messages, or is there."""
    size_bytes = 0
    for job in jobs:
        more_bytes = inputs_bytes(job.inputs) if job.inputs else 0
        needed: dict[str, bytes] = {}
        if job.payload not in known:
            known[job.payload] = None
            dag = dags[job.attempt.run]
            needed = {digest: dag.code(digest) for digest in dispatcher.codes_to_send(to, (job.payload,))}
            more_bytes += sum(map(len, needed.values()))
        if batch and size_bytes + more_bytes > _MAX_MESSAGE_BYTES:
            messages.append(Send(to, Work(tuple(batch), codes, backlog)))
            batch, codes, size_bytes = [], {}, 0
        batch.append(job)
        codes |= needed
        size_bytes += more_bytes
    if batch:
        messages.append(Send(to, Work(tuple(batch), codes, backlog)))
    return messages
