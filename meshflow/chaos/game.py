"""Plays rounds: runs, a fault among them, and patience until all have ended.

The hosts: one that holds the store and one that submits, which do nothing else, two that drive runs and two that run
tasks. So it is always known what a fault has hit.
"""

import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

from meshflow.chaos import evidence
from meshflow.chaos.faults import Injury, apply
from meshflow.chaos.history import Applied, BrokenOff, Event, Found, Healed, Proved, Started, Submitted, write
from meshflow.chaos.hosts import Host, Hosts
from meshflow.chaos.plans import plan_of
from meshflow.chaos.schedule import Fault, Round, Victim
from meshflow.chaos.steps import patiently
from meshflow.chaos.submitter import Submitter
from meshflow.config import Config
from meshflow.connect import open_mesh
from meshflow.core.records import RunRecord
from meshflow.core.requests import ListNodes, ListRuns, RemoveRun, Sweep, Swept
from meshflow.errors import MeshflowError, StoreUnavailable
from meshflow.ids import NodeId, RunId
from meshflow.mesh import Mesh, NoMesh
from meshflow.store.sqlite import SqliteStore

HISTORY = "history.jsonl"

PATIENCE_S = 90.0
"""From the end of a fault until all runs must have ended."""

_POLL_S = 0.2

_OWNERS, _WORKERS = ("owner1", "owner2"), ("worker1", "worker2")
_SUBMITTER = "submitter"

_HOSTS = (
    ("store", ("store",), 1),
    (_SUBMITTER, (_SUBMITTER,), 1),
    *((name, ("workflow", "dag"), 1) for name in _OWNERS),
    *((name, ("task",), 2) for name in _WORKERS),
)
"""Name, queues, slots. Nothing is ever put into the queues of the first two."""

_SEEDS = 1_000_000
"""How many arguments a run may have."""

_TIMEOUT_S = 3.0
"""How long our own client waits for a node before it asks the next."""

_KEPT_ROUNDS = 2

_AWAY = (StoreUnavailable, NoMesh)
"""What the mesh may say for some time after a fault."""


def play(folder: Path, rounds: Iterable[Round], *, in_sandbox: bool, tell: Callable[[str], None]) -> list[Event]:
    """The history of a game of these rounds, which `folder` gets, too. A game that could not go on has one as well,
    with a `BrokenOff` in it. Each round is told of in a line."""
    history: list[Event] = []
    game: Game | None = None
    number, what = 0, "begin"
    try:
        with (game := Game(folder, history, in_sandbox=in_sandbox)):
            for round_ in rounds:
                number, what = round_.number, f"play round {round_.number} to its end"
                tell(game.play(round_))
            number, what = number + 1, "read the logs of its last rounds"
            game.finish()
    except Exception as problem:
        # Whatever it is, what was seen until now is to be judged. An error that nobody has foreseen is told in full.
        told = str(problem) if isinstance(problem, MeshflowError) else traceback.format_exc()
        unread = game.unread if game else ()
        history.append(BrokenOff(time.monotonic(), number, f"the game could not {what}: {told}", unread))
    finally:
        history += evidence.notes(folder)
        write(folder / HISTORY, history)
    return history


class Game:
    """A mesh and what happens to it. To be used in a `with` block; `folder` gets the logs of all nodes."""

    def __init__(self, folder: Path, history: list[Event], *, in_sandbox: bool) -> None:
        """Everything that happens is added to `history`.

        Raises:
            ChaosFailed: there can be no such hosts.
        """
        self._folder = folder
        self._hosts = Hosts(folder, _HOSTS, in_sandbox=in_sandbox)
        self._addresses = [host.address for host in self._hosts.all.values()]
        self._history = history
        self._mark = 0
        self._kept: deque[tuple[RunId, ...]] = deque()
        """The runs of the last rounds, whose logs are yet to be read."""
        self._given_up: dict[RunId, None] = {}
        """Runs that have not ended in time; nobody waits for them again."""
        self._submitter = Submitter(self._hosts.all[_SUBMITTER], self._addresses, folder / "client.log", self._history)
        self._ends = ExitStack()

    def __enter__(self) -> "Game":
        with ExitStack() as ends:
            ends.enter_context(self._hosts)
            ends.callback(self._submitter.kill)
            self._submitter.start()
            self._store = SqliteStore(self._hosts.store.store_path)
            ends.callback(self._store.close)
            self._mesh = self._open_mesh()
            ends.callback(self._mesh.close)
            self._ends = ends.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ends.close()

    def play(self, round_: Round) -> str:
        """Play one round; gives a line that tells of it.

        Raises:
            ChaosFailed: the game cannot go on.
        """
        first = self._mark + 1
        self._submit(round_, round_.before)
        time.sleep(round_.lead_s)
        victims = self._victims(round_)
        injury = self._apply(round_, victims)
        try:
            time.sleep(round_.hold_s / 3)
            self._submit(round_, round_.during)
            time.sleep(round_.hold_s * 2 / 3)
            self._history.append(Proved(time.monotonic(), round_.number, *injury.prove()))
        finally:
            injury.heal()
        self._history.append(Healed(time.monotonic(), round_.number))
        waited_s = self._await_end()
        self._see(range(first, self._mark + 1))
        what = f"{round_.fault.value} of {', '.join(injury.nodes) or 'nobody'} for {round_.hold_s:.1f} s"
        return f"round {round_.number}: {what}; all had ended {waited_s:.1f} s later"

    @property
    def unread(self) -> tuple[str, ...]:
        """Runs whose logs are yet to be read."""
        return tuple(run for runs in self._kept for run in runs)

    def finish(self) -> None:
        """Read what is still to be read, after the last round."""
        while self._kept:
            self._read_logs()

    def _open_mesh(self) -> Mesh:
        config = Config()
        key_file = str(self._hosts.key_file)
        config.load_from_dict({"mesh": {"join": self._addresses, "key_file": key_file, "timeout_s": _TIMEOUT_S}})
        return open_mesh(config.settings, environ=self._hosts.all[_SUBMITTER].environment)

    # --- what a round is made of ---

    def _submit(self, round_: Round, kinds: Iterable[str]) -> None:
        for kind in kinds:
            self._mark += 1
            seed = (round_.choice + self._mark) % _SEEDS
            at = time.monotonic()
            self._history.append(Submitted(at, self._mark, round_.number, kind, plan_of(kind, seed)))
            self._submitter.submit(self._mark, kind, seed)

    def _victims(self, round_: Round) -> list[Host]:
        hosts = self._hosts.all
        match round_.victim:
            case Victim.ALL:
                return list(hosts.values())
            case Victim.STORE:
                return [self._hosts.store]
            case Victim.SUBMITTER:
                return [hosts[_SUBMITTER]]
            case Victim.OWNER:
                return [hosts[_most(self._owners(), _OWNERS, round_.choice)]]
            case Victim.WORKER:
                return [hosts[_most(self._busy(), _WORKERS, round_.choice)]]

    def _owners(self) -> list[str]:
        """For each run that is open, the name of the node that drives it."""
        names = patiently(partial(evidence.names_of_nodes, self._store))
        return [names.get(record.owner or NodeId(""), "") for record in patiently(self._open)]

    def _busy(self) -> list[str]:
        """For each task that runs, the name of its node."""
        running: dict[str, str] = {}
        for note in evidence.notes(self._folder):
            if isinstance(note, Started):
                running[note.execution] = note.node
            else:
                running.pop(note.execution, None)
        return list(running.values())

    def _apply(self, round_: Round, victims: list[Host]) -> Injury:
        if round_.fault is Fault.KILL and round_.victim is Victim.SUBMITTER:
            self._submitter.kill()
            self._submitter.start()  # it waits for a node, and then takes the next submissions
        at = time.monotonic()
        injury = apply(round_.fault, victims, round_.choice, lambda: self._store.perform([ListNodes()]))
        self._history.append(Applied(at, round_.number, round_.fault.value, round_.victim.value, injury.nodes))
        return injury

    def _await_end(self) -> float:
        """Wait until it is known of all submissions what came of them, and no run is open; how long that took, in
        seconds."""
        began = time.monotonic()
        while time.monotonic() < began + PATIENCE_S:
            with suppress(StoreUnavailable):
                if not self._open_runs() and self._submitter.is_idle():
                    return time.monotonic() - began
            time.sleep(_POLL_S)
        self._given_up.update(dict.fromkeys(patiently(self._open_runs)))
        return time.monotonic() - began

    def _open_runs(self) -> list[RunId]:
        return [record.run for record in self._open() if record.run not in self._given_up]

    def _open(self) -> tuple[RunRecord, ...]:
        (found,) = self._store.perform([ListRuns(is_open=True)])
        assert isinstance(found, tuple)
        return found

    def _see(self, marks: range) -> None:
        """Look at the runs of a round from both sides. The logs are read some rounds later, so that what comes late
        is in them, too; then the run goes, with its ten megabytes."""
        every = patiently(partial(evidence.marks, self._store))
        found = {mark: run for mark, run in every.items() if mark in marks}
        for mark, run in found.items():
            self._history.append(Found(mark, run))
            self._history.append(patiently(partial(evidence.observe, self._store, run, "file")))
            self._history.append(patiently(partial(evidence.observe, self._mesh, run, "mesh"), _AWAY))
        self._kept.append(tuple(found.values()))
        if len(self._kept) > _KEPT_ROUNDS:
            self._read_logs()

    def _read_logs(self) -> None:
        """Read those of the oldest round that is left."""
        for run in self._kept[0]:
            self._history += patiently(partial(evidence.logs_of, self._store, run))
            self._history.append(patiently(partial(evidence.observe, self._store, run, "file")))
            patiently(partial(self._store.perform, [RemoveRun(run)]))
        self._kept.popleft()
        is_swept = False
        while not is_swept:
            (swept,) = patiently(partial(self._store.perform, [Sweep()]))
            assert isinstance(swept, Swept)
            is_swept = swept.is_done


def _most(found: Iterable[str], among: tuple[str, ...], choice: int) -> str:
    """The one of these names that comes most often; of several, `choice` draws."""
    counts = Counter(name for name in found if name in among)
    best = max(counts.values(), default=0)
    several = [name for name in among if counts[name] == best]
    return several[choice % len(several)]
