"""How people name runs and nodes, and what is meant by it.

A run is named by the beginning of its id, by `@last`, or by the name of its workflow (its newest run); a node by its
name, or by the beginning of its id. What could mean two things means neither: the error lists them.
"""

import difflib
from collections.abc import Sequence

from meshflow.core.member import Member
from meshflow.core.records import RunRecord
from meshflow.errors import UsageError

LAST = "@last"

_MAX_LISTED = 5


class NotFound(UsageError):
    """There is no such run or node. `hint` says what may have been meant; empty where nothing is similar."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.message, self.hint))


class Ambiguous(UsageError):
    """A reference could mean more than one run or node."""


class WaitTimeout(UsageError):
    """The time given for waiting is over; what was waited for goes on."""


def find_run(reference: str, records: Sequence[RunRecord]) -> RunRecord:
    """The workflow run that is meant, among `records`, newest first.

    Raises:
        NotFound: none fits.
        Ambiguous: several do.
    """
    if reference == LAST:
        if not records:
            raise NotFound("there is no run yet", "submit one: meshflow submit simple")
        return records[0]
    by_id = [record for record in records if reference and record.run.startswith(reference)]
    if len(by_id) == 1:
        return by_id[0]
    # Newest first: a workflow's name means its newest run.
    by_name = next((record for record in records if record.name == reference), None)
    if by_name is not None:
        return by_name
    if by_id:
        listed = ", ".join(f"{record.run} ({record.name})" for record in by_id[:_MAX_LISTED])
        raise Ambiguous(f"{len(by_id)} runs start with {reference!r}: {listed}; give more of the id")
    known = [*(record.run for record in records), *dict.fromkeys(record.name for record in records)]
    close = difflib.get_close_matches(reference, known, 1)
    hint = f"did you mean {close[0]!r}?" if close else "list them: meshflow status"
    raise NotFound(f"no run starts with {reference!r}, and no workflow of that name was run", hint)


def open_runs(reference: str, records: Sequence[RunRecord]) -> list[RunRecord]:
    """The runs that are meant by one who wants to end them: all open ones of a workflow, or the one that is named.

    Raises:
        NotFound: none fits.
        Ambiguous: several ids do.
    """
    of_workflow = [record for record in records if record.name == reference and not record.state.is_final]
    return of_workflow or [find_run(reference, records)]


def find_node(reference: str, members: Sequence[Member]) -> Member:
    """The member that is meant.

    Raises:
        NotFound: none fits.
        Ambiguous: several do.
    """
    found = [member for member in members if reference in (member.name, member.id)]
    found = found or [member for member in members if reference and member.id.startswith(reference)]
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(f"{member.id} ({member.name})" for member in found[:_MAX_LISTED])
        raise Ambiguous(f"{len(found)} nodes fit {reference!r}: {listed}; give the id")
    close = difflib.get_close_matches(reference, [member.name for member in members], 1)
    hint = f"did you mean {close[0]!r}?" if close else "list them: meshflow nodes"
    raise NotFound(f"there is no node {reference!r}", hint)
