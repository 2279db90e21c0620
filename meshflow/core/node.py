"""All machines of one node, put together: the only place that knows every one of them.

The shell gives it messages, answers of the store, what task processes say, and the time; after each batch of input it
calls `flush`. Everything comes back as effects, to be performed in order. Messages that a node sends to itself go round
inside, through the same code as all others.
"""

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from meshflow.core.asks import Asks, Locating, Registering, Relaying, Removing
from meshflow.core.attempts import Attempt
from meshflow.core.callers import Callers
from meshflow.core.claims import ClaimSettings
from meshflow.core.client_messages import AskStatus, Drain, Draining, NodeStatus, StoreAnswers, StoreAsk, Watch, Watched
from meshflow.core.definitions import Definitions
from meshflow.core.dispatch import DispatchSettings
from meshflow.core.effects import Effect, Emit, Send
from meshflow.core.events import MemberDied, MemberJoined, MemberLeft, MemberUpdated
from meshflow.core.kept import Spool
from meshflow.core.member import Member, Status
from meshflow.core.membership import Membership
from meshflow.core.membership_settings import MembershipSettings
from meshflow.core.messages import (
    Cancel,
    Demand,
    Finished,
    Gossip,
    Holding,
    Message,
    Offer,
    Output,
    Owned,
    Probe,
    ProbeAck,
    ProbeNack,
    ProbeRequest,
    Reports,
    ReportsAck,
    RunOpen,
    Signal,
    SignalAnswer,
    Stopping,
    Sync,
    Work,
)
from meshflow.core.owned import OwnedRuns
from meshflow.core.owner_settings import OwnerSettings
from meshflow.core.records import RunRecord, Value
from meshflow.core.registry import Registry
from meshflow.core.requests import WriteOutput
from meshflow.core.retention import Retention, RetentionSettings
from meshflow.core.view import is_living
from meshflow.core.watch import Watchers
from meshflow.core.worker import Worker
from meshflow.core.worker_settings import WorkerSettings
from meshflow.ids import NodeId, RunId, is_calls


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """The settings of every machine of a node."""

    membership: MembershipSettings
    worker: WorkerSettings = field(default_factory=WorkerSettings)
    owner: OwnerSettings = field(default_factory=OwnerSettings)
    dispatch: DispatchSettings = field(default_factory=DispatchSettings)
    claims: ClaimSettings = field(default_factory=ClaimSettings)
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    register_s: float = 10.0
    """Seconds between a node's entries in the store's list of nodes, where peers on other hosts look for a seed."""


class Node:
    """One node. `definitions` reads what `submit` stored; `version` is told to those who ask for the status; `spool`
    takes the reports that are too many for memory."""

    def __init__(
        self,
        me: Member,
        settings: NodeSettings,
        definitions: Definitions,
        rng: random.Random,
        now: float,
        version: str = "",
        spool: Spool | None = None,
    ) -> None:
        self.id = me.id
        self.membership = Membership(me, settings.membership, rng)
        self.wall_offset_s = 0.0
        """Wall clock minus `now`, kept by the shell; stamps what people read, and is never compared."""
        self.store_error = ""
        """Why the store does not answer, as the shell says; empty while it does."""
        self.children: tuple[int, ...] = ()
        """Process ids of the task processes, as the shell says."""
        self._asks = Asks()
        self._version = version
        self._started_at = now
        self._worker = Worker(settings.worker, self._asks, spool)
        self.kept = self._worker.kept
        """The results that wait here; large values that wait for the store count with them."""
        self._runs = OwnedRuns(me.id, self._asks, definitions, settings.claims, settings.owner, settings.dispatch, now)
        self._callers = Callers()
        self._watchers = Watchers()
        self._clients = Watchers()
        self._inside: deque[Message] = deque()
        self._registry = Registry(self._asks, self._runs.names, settings.register_s, now)
        self._retention = Retention(self._asks, settings.retention, now)
        self._refresh_members()

    # --- life ---

    def start(self, seeds: Sequence[str], now: float) -> list[Effect]:
        """Join through the addresses in `seeds`; without any, this node is the first."""
        return self._react(self.membership.join(seeds, now), now)

    def drain(self, now: float) -> list[Effect]:
        """Take nothing new, give back what has not started, let the rest end. `is_drained` says when."""
        if self._worker.is_draining:
            return []
        effects = self._worker.give_back_all()
        return effects + self._react(self.membership.change_me(now, is_draining=True), now)

    @property
    def is_drained(self) -> bool:
        """Whether a drain is complete: nothing runs here, every result is delivered, every log is written."""
        return self._worker.is_draining and self._worker.is_idle and self._runs.is_settled

    def leave(self, now: float) -> list[Effect]:
        """Say goodbye: others take this node's runs over at once."""
        return [self._registry.leave(self.id), *self._react(self.membership.leave(now), now)]

    @property
    def is_draining(self) -> bool:
        """Whether `drain` was called, here or by a message."""
        return self._worker.is_draining

    @property
    def status(self) -> NodeStatus:
        """What this node is doing (as of the last flush)."""
        return self._status(0, self._started_at)

    def _status(self, number: int, now: float) -> NodeStatus:
        running = tuple((attempt, name, now - since) for attempt, name, since in self._worker.running)
        return NodeStatus(
            number,
            self.membership.me,
            self._version,
            running,
            self._runs.dispatcher.waiting,
            self._runs.runs,
            tuple(self.membership.members.values()),
            self._worker.done_count,
            now - self._started_at,
            self._runs.refused_append_count,
            self.store_error,
            self.children,
            {node: name for node, name in self._runs.names.items() if node not in self.membership.members},
        )

    # --- input ---

    def handle(self, sender: NodeId, message: Message, now: float) -> list[Effect]:
        """A message from a peer or a client."""
        match message:
            case Probe() | ProbeAck() | ProbeRequest() | ProbeNack() | Gossip() | Sync():
                return self._react(self.membership.handle(sender, message, now), now)
            case _:
                self.membership.heard_from(sender, now)
                self._callers.heard(sender, now)
                return self._handle_work(sender, message, now)

    def _handle_work(self, sender: NodeId, message: Message, now: float) -> list[Effect]:
        match message:
            case Reports(granted=granted, received=received):
                self._runs.dispatcher.demand(sender, granted, received, now)
                return self._runs.reports(sender, message, now) + self._show_output(message, now)
            case Work(jobs=jobs):
                if any(is_calls(job.attempt.run) for job in jobs):
                    self._callers.came(sender, now)  # of a client that was silent for too long, and did not know it
                self._worker.work(sender, message, now)
                self._doubt_owner(sender, now)
            case Demand(granted=granted, received=received):
                self._runs.dispatcher.demand(sender, granted, received, now)
            case Offer(queues=queues, is_caller=True) if not queues:
                self._callers.left(sender)
                return self._worker.caller_gone(sender)
            case Offer(queues=queues, is_caller=is_caller):
                # A stranger introduces itself first; what it grants or is granted would be kept for ever.
                if is_caller:
                    self._callers.came(sender, now)
                if is_caller or self._is_member(sender):
                    self._worker.offered(sender, sum(queues.values()))
            case ReportsAck(run=run, upto=upto):
                self._worker.acknowledged(sender, run, upto)
            case Holding(attempts=attempts, granted=granted, received=received, answers=answers):
                self._runs.dispatcher.demand(sender, granted, received, now)
                return self._runs.held(sender, attempts, now, answers)
            case Cancel(attempts=attempts):
                return self._worker.cancel(attempts)
            case Stopping(run=run):
                return self._worker.stopping(run)
            case _:
                return self._handle_run(sender, message, now)
        return []

    def _handle_run(self, sender: NodeId, message: Message, now: float) -> list[Effect]:
        match message:
            case RunOpen(run=run):
                self._worker.doubt(run, now)
                return self._runs.run_open(sender, run)
            case Owned(run=run, epoch=epoch):
                self._runs.owned_elsewhere(sender, message)
                effects = self._worker.owned(sender, run, epoch)
                self._doubt_owner(sender, now)
                return effects
            case Signal():
                return self._runs.signal(sender, message, now)
            case SignalAnswer():
                return self._worker.signal_answered(message) + self._runs.signal_answered(message)
            case StoreAsk(number=number, is_borrowed=True) if not self.membership.me.has_store:
                return [Send(sender, StoreAnswers(number, (), "it has no store of its own"))]
            case StoreAsk(number=number, requests=requests):
                return [self._asks.ask(Relaying(sender, number), *requests)]
            case Watch():
                return self._watch(sender, message, now)
            case Watched(batch=batch, output=output):
                run = batch.run if batch is not None else output[0].run if output else RunId("")
                return list(self._clients.tell(run, batch, output, now)) if run else []
            case AskStatus(number=number):
                return [Send(sender, self._status(number, now))]
            case Drain(number=number):
                return [Send(sender, Draining(number)), *self.drain(now)]
            case _:
                # Answers to clients (NodeStatus, StoreAnswers, Draining) mean nothing to a node.
                return []

    def answered(self, token: int, answers: Sequence[object], now: float) -> list[Effect]:
        """The store has performed the requests of an Ask."""
        purpose = self._asks.take(token)
        match purpose:
            case None:
                return []
            case Registering():
                return self.membership.contact(self._registry.answered(answers, now + self.wall_offset_s))
            case Removing():
                self._retention.answered(answers, now)
                return []
            case Relaying(to=to, number=number):
                return [Send(to, StoreAnswers(number, tuple(answers)))]
            case Locating(run=run):
                record = answers[0] if isinstance(answers[0], RunRecord) else None
                effects = self._worker.located(run, record) + self._runs.located(run, record)
                if record is not None and record.owner is not None:
                    self._doubt_owner(record.owner, now)
                return effects
            case _:
                return self._runs.answered(purpose, answers, now)

    def refused(self, token: int, reason: str, now: float) -> list[Effect]:
        """The store cannot be reached and this Ask is not to be repeated: those of clients, who are told."""
        purpose = self._asks.take(token)
        return [Send(purpose.to, StoreAnswers(purpose.number, (), reason))] if isinstance(purpose, Relaying) else []

    def is_for_client(self, token: int) -> bool:
        """Whether an Ask is made for somebody who waits for the answer and can be told no."""
        return isinstance(self._asks.purpose(token), Relaying)

    def task_output(self, attempt: Attempt, chunk: WriteOutput, now: float) -> None:
        """A task printed something."""
        self._worker.output(attempt, chunk)

    def task_signal(
        self, attempt: Attempt, call: int, action: str, arguments: dict[str, object], data: Value | None, now: float
    ) -> None:
        """A task asks something of its run; the answer comes as AnswerTask."""
        self._worker.signal(attempt, call, action, arguments, data, now)

    def task_finished(self, report: Finished, now: float) -> None:
        """An attempt ended, however it did."""
        self._worker.finished(report, now)

    def task_returned(self, attempt: Attempt) -> None:
        """An attempt that was recalled had not begun."""
        self._worker.returned(attempt)

    def disconnected(self, peer: NodeId, now: float) -> list[Effect]:
        """The connection to a peer broke: a reason to probe it, not a proof of anything."""
        return self._react(self.membership.disconnected(peer, now), now)

    def somebody_left(self, now: float) -> None:
        """A connection that came in has ended, of a peer or a client."""
        self._callers.somebody_left(now)

    def unreached(self, peer: NodeId) -> None:
        """What was to be sent to a peer or a client was not: there is no connection to it."""
        self._callers.unreached(peer)

    # --- time ---

    def flush(self, now: float) -> list[Effect]:
        """Do what is due and send what has gathered. To be called after each batch of input, and at `deadline`."""
        effects: list[Effect] = []
        if now >= self.membership.deadline():
            effects += self._react(self.membership.tick(now), now)
        me, alive = self.membership.me, self.membership.alive()
        effects += self._registry.flush(me, alive, now, now + self.wall_offset_s)
        effects += self._retention.flush(me, alive, now, now + self.wall_offset_s)
        for client in self._callers.gone(now):
            # If it is there all the same, it must not count on credit that is void.
            effects += [*self._worker.caller_gone(client), Send(client, Demand(0, 0))]
        effects += [self._worker.holding(client) for client in self._callers.to_ask(now)]
        while True:
            effects += self._outward(self._runs.flush(now, self.wall_offset_s))
            effects += self._publish(now)
            effects += self._outward(self._worker.flush(now))
            if not self._inside:
                return effects
            while self._inside:
                effects += self._outward(self.handle(self.id, self._inside.popleft(), now))

    def deadline(self) -> float:
        """When `flush` is next due without any input; `math.inf` for never."""
        store_at = min(self._registry.deadline(), self._retention.deadline())
        others_at = min(self._runs.deadline(), self._worker.deadline(), self._callers.deadline())
        return min(self.membership.deadline(), others_at, store_at)

    # --- inside ---

    def perform(self, effects: Sequence[Effect]) -> list[Effect]:
        """What the shell has to perform of `effects`: all but the messages of this node to itself, which are kept for
        the next flush."""
        return self._outward(effects)

    def _outward(self, effects: Sequence[Effect]) -> list[Effect]:
        outward: list[Effect] = []
        for effect in effects:
            if isinstance(effect, Send) and effect.to == self.id:
                self._inside.append(effect.message)
            else:
                outward.append(effect)
        return outward

    def _react(self, effects: Sequence[Effect], now: float) -> list[Effect]:
        """Let the other machines know what membership has found out."""
        result: list[Effect] = []
        is_changed = False
        for effect in effects:
            result.append(effect)
            if not isinstance(effect, Emit):
                continue
            match effect.event:
                case MemberJoined() | MemberUpdated():
                    is_changed = True
                case MemberDied(member=member) | MemberLeft(member=member):
                    self._refresh_members()
                    self._worker.owner_gone(member.id, now)
                    self._watchers.forget(member.id)
                    result += self._runs.node_gone(member.id, now)
                case _:
                    pass
        if is_changed:
            self._refresh_members()
        return result

    def _is_member(self, peer: NodeId) -> bool:
        member = self.membership.members.get(peer)
        return member is not None and is_living(member)

    def _doubt_owner(self, owner: NodeId, now: float) -> None:
        """An owner that is gone already is not told of again: whoever turned to it has to look for its successor."""
        member = self.membership.members.get(owner)
        if owner not in self._callers and (member is None or member.status > Status.SUSPECT):
            self._worker.owner_gone(owner, now)

    def _refresh_members(self) -> None:
        self._runs.set_members(self.membership.alive())

    def _watch(self, sender: NodeId, watch: Watch, now: float) -> list[Effect]:
        if sender in self.membership.members:
            self._watchers.watch(sender, watch, now)
            return []
        self._clients.watch(sender, watch, now)
        return [Send(member.id, watch) for member in self.membership.alive()]

    def _show_output(self, message: Reports, now: float) -> list[Effect]:
        if not self._watchers.of(message.run, now):
            return []
        chunks = [report.chunk for report in message.reports if isinstance(report, Output)]
        return list(self._watchers.tell(message.run, None, chunks, now)) if chunks else []

    def _publish(self, now: float) -> list[Effect]:
        published, self._runs.published = self._runs.published, []
        effects: list[Effect] = []
        for batch in published:
            effects += self._watchers.tell(batch.run, batch, (), now)
        return self._outward(effects)
