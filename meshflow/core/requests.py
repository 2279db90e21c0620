"""What may be asked of a store, as a closed set of values.

A store performs a batch of requests in order, each atomic by itself, and answers each. Every request may be sent again
after an unknown outcome and then changes nothing more (`StoreUnavailable` means unknown): appends, pushes and extends
carry a token, all else is idempotent by nature.

A *native value* is None, bool, int (64 bit), float, str, bytes, datetime (UTC, milliseconds), a list of native values,
a dict of str to native value, or `Pickled`: what a user can read with a MongoDB client, but for the last.
"""

from dataclasses import dataclass

from meshflow.core.records import Batch, RunRecord, State, Stop
from meshflow.ids import NodeId, RunId


@dataclass(frozen=True, slots=True)
class Pickled:
    """A value that is not native, pickled by the process that set it."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Refused:
    """The store understood the request and says no; `reason` is a sentence for the user."""

    reason: str


@dataclass(frozen=True, slots=True)
class CreateRun:
    """Record a run with its blobs and, for a workflow run, its document. Answer: bool, False if the run exists (then
    nothing is changed); or Refused if a value cannot be stored. The record becomes visible last, so that a visible run
    is complete. A document that is there already is kept."""

    record: RunRecord
    blobs: dict[str, bytes]
    document: dict[str, object] | None = None
    """`{"meta": {...}, "data": {...}}` of native values; None: no document."""


@dataclass(frozen=True, slots=True)
class LoadRun:
    """Answer: RunRecord, or None if there is no such run."""

    run: RunId


@dataclass(frozen=True, slots=True)
class ListRuns:
    """Answer: tuple of RunRecord, newest first. Filters that are None do not filter."""

    is_open: bool | None = None
    """True: not in a final state."""
    parent: RunId | None = None
    workflows_only: bool = False
    workflow: str | None = None
    limit: int | None = None
    before: float | None = None
    """Created before this instant (wall clock)."""


@dataclass(frozen=True, slots=True)
class UpdateRun:
    """Bring the record up to date if `epoch` is at least the record's. Answer: bool, False if fenced or unknown.
    Fields that are None stay as they are; `started_at` is kept once set."""

    run: RunId
    epoch: int
    state: State | None = None
    reason: str | None = None
    owner: NodeId | None = None
    started_at: float | None = None
    ended_at: float | None = None
    total: int | None = None
    done: int | None = None


@dataclass(frozen=True, slots=True)
class AskStop:
    """Note in the record that the run shall end early; CANCEL outranks STOP, else the first reason stays. Answer: bool,
    False if the run is unknown or final."""

    run: RunId
    stop: Stop
    reason: str


@dataclass(frozen=True, slots=True)
class Append:
    """Write a batch at `(run, seq)` if nothing is there. Answer: bool, True if the entry there is this one (by its
    token), False if it is another's."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class ReadLog:
    """Answer: tuple of Batch in order of seq from `since` on: all, or about `max_bytes` of them but at least one."""

    run: RunId
    since: int = 0
    max_bytes: int = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PutBlob:
    """Keep bytes under a key of the workflow run that `run` is or belongs to (overwrites). Answer: True, or Refused if
    they are more than the store can hold."""

    run: RunId
    key: str
    data: bytes


@dataclass(frozen=True, slots=True)
class GetBlob:
    """Read a blob of the workflow run that `run` is or belongs to. Answer: bytes, or None if there is none."""

    run: RunId
    key: str


@dataclass(frozen=True, slots=True)
class CopyBlob:
    """Keep a blob of the workflow run `source` under the same key of the workflow run `run` too (overwrites), without
    anybody having to fetch it. Answer: bool, False if there is none (then nothing is changed)."""

    run: RunId
    source: RunId
    key: str


@dataclass(frozen=True, slots=True)
class CopyDocument:
    """Give the workflow run `run` a document whose data section is a copy of that of the workflow run `source`; its
    meta section is empty. A document that is there already is kept. Answer: bool, False if `source` has no document."""

    run: RunId
    source: RunId


@dataclass(frozen=True, slots=True)
class GetField:
    """Read a dotted key of a section (`meta` or `data`) of the document of the workflow run that `run` is or belongs
    to; an empty key is the whole section. Answer: `(True, value)`, `(False, None)` if the key is missing, or Refused if
    there is no document or the path leads through a list or a scalar."""

    run: RunId
    section: str
    key: str


@dataclass(frozen=True, slots=True)
class SetFields:
    """Set dotted keys to native values, making levels between. Answer: bool, False if there is no document; or Refused
    (nothing set) if a path leads through a list or a scalar, keys overlap (`a` and `a.b`), or a value is not native."""

    run: RunId
    section: str
    items: dict[str, object]


@dataclass(frozen=True, slots=True)
class ExtendField:
    """Append values to the list at a dotted key, atomically, making it if missing. Answer: bool, False if there is no
    document; or Refused if the target is not a list. A token that was seen lately answers True and changes nothing;
    without values nothing is changed."""

    run: RunId
    section: str
    key: str
    values: tuple[object, ...]
    token: str


@dataclass(frozen=True, slots=True)
class RemoveDocument:
    """Remove a workflow run's document and the values its tasks passed on (blobs under `value/`). Record, log, output
    and definitions stay. Answer: bool, False if there was no document, or `run` is a dag run."""

    run: RunId


@dataclass(frozen=True, slots=True)
class WriteOutput:
    """Keep what an attempt printed. `(run, task, attempt, stream, offset)` is the key: writing it again changes
    nothing. Answer: True."""

    run: RunId
    task: str
    attempt: int
    stream: str
    """`stdout` or `stderr`."""
    offset: int
    """Bytes of this stream before this chunk."""
    data: bytes
    at: float = 0.0
    """Wall clock of the host that captured it."""


@dataclass(frozen=True, slots=True)
class ReadOutput:
    """Answer: tuple of WriteOutput in the order they were captured (by `at`, then offset). `run` may be a workflow run
    (all its dag runs) or a dag run; None filters nothing."""

    run: RunId
    task: str | None = None
    attempt: int | None = None


@dataclass(frozen=True, slots=True)
class RegisterNode:
    """Note that a node is there, for those who look for peers. Answer: True."""

    node: NodeId
    address: str
    """Empty if it has left."""
    seen_at: float
    name: str = ""


@dataclass(frozen=True, slots=True)
class ForgetNode:
    """Note that a node has left: nobody needs to look for it, but its name stays known. Answer: True."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class ListNodes:
    """Answer: tuple of RegisterNode seen at or after `since` (wall clock)."""

    since: float = 0.0


@dataclass(frozen=True, slots=True)
class RemoveRun:
    """Take a workflow run that has ended out of the store, with its dag runs and its document: from now on it is not
    shown, read or claimed. All that belongs to it (logs, blobs, output, large values) goes with the Sweeps that follow.
    Answer: bool, False if there is none, it is open, or `run` is a dag run."""

    run: RunId
    output_only: bool = False
    """Take out nothing but what its tasks printed; False is also the answer if they printed nothing."""


@dataclass(frozen=True, slots=True)
class RemoveOrphans:
    """Look for what belongs to no run (a submission died half way, or a writer came too late), and note it. What was
    noted before, and still belongs to none, is taken out, as by RemoveRun. A bounded number of runs is looked at.
    Answer: str, the next `after`; empty if all have been looked at."""

    at: float
    """Wall clock: what is found now was noted then."""
    noted_before: float
    """What was noted before this instant is taken out."""
    after: str = ""
    """Where to go on; empty: at the beginning."""


@dataclass(frozen=True, slots=True)
class RemoveNodes:
    """Forget nodes that were not seen since `before` (wall clock), with their names. Answer: int, how many."""

    before: float


@dataclass(frozen=True, slots=True)
class Sweep:
    """Remove a part of what was taken out, small enough that nobody waits long for it, and give space back. To be
    repeated until it is done; by whom, and after what pause, does not matter. Answer: Swept."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What a Sweep removed."""

    row_count: int
    size_bytes: int
    """Of logs, blobs, output and values, without what the store needs to keep them."""
    is_done: bool
    """Whether nothing is left to remove, nor space to give back."""


Request = (
    CreateRun
    | LoadRun
    | ListRuns
    | UpdateRun
    | AskStop
    | Append
    | ReadLog
    | PutBlob
    | GetBlob
    | CopyBlob
    | CopyDocument
    | GetField
    | SetFields
    | ExtendField
    | RemoveDocument
    | WriteOutput
    | ReadOutput
    | RegisterNode
    | ForgetNode
    | ListNodes
    | RemoveRun
    | RemoveOrphans
    | RemoveNodes
    | Sweep
)

Answer = object
"""What each request documents; Refused where it says so."""
