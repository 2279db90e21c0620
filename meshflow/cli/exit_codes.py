"""What the exit code of a command says, and which error leads to which. A failure is never 0."""

from enum import IntEnum

from meshflow.core.records import State


class ExitCode(IntEnum):
    """Exit codes; scripts may rely on them, and JSON errors carry their names in lower case."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    RUN_FAILED = 3
    NOT_FOUND = 4
    NO_MESH = 5
    TIMEOUT = 6
    CANCELLED = 7
    INVALID = 8
    DENIED = 9
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.OK: "done; an empty list is also done; a run that was waited for completed",
    ExitCode.FAILURE: "any other error",
    ExitCode.USAGE: "bad option or argument, or a mistake in the configuration",
    ExitCode.RUN_FAILED: "a run that was waited for failed or was aborted; `chaos`: a promise was broken",
    ExitCode.NOT_FOUND: "no such run, workflow or node",
    ExitCode.NO_MESH: "no node answered",
    ExitCode.TIMEOUT: "waiting ran out; the run goes on",
    ExitCode.CANCELLED: "a run that was waited for was stopped or cancelled",
    ExitCode.INVALID: "a workflow that cannot be run: import error, cycle, missing or wrong parameter",
    ExitCode.DENIED: "wrong or missing mesh key",
    ExitCode.INTERRUPTED: "interrupted with Ctrl-C (143: ended by SIGTERM)",
}

_OF_STATES = {
    State.COMPLETED: ExitCode.OK,
    State.STOPPED: ExitCode.CANCELLED,
    State.CANCELLED: ExitCode.CANCELLED,
}


def of_state(state: State) -> ExitCode:
    """The exit code for a run that ended in `state`."""
    return _OF_STATES.get(state, ExitCode.RUN_FAILED)


def of_error(error: Exception) -> ExitCode:
    """The exit code for an error of MeshFlow."""
    # Imported here because only a command that failed needs them.
    from meshflow.errors import UsageError, WorkflowArgumentError, WorkflowError, WorkflowNotFound
    from meshflow.mesh import NoMesh
    from meshflow.references import NotFound, WaitTimeout
    from meshflow.runtime.transport.problems import WrongKey

    table: tuple[tuple[type[Exception], ExitCode], ...] = (
        (NoMesh, ExitCode.NO_MESH),
        (WrongKey, ExitCode.DENIED),
        (NotFound, ExitCode.NOT_FOUND),
        (WorkflowNotFound, ExitCode.NOT_FOUND),
        (WaitTimeout, ExitCode.TIMEOUT),
        (WorkflowArgumentError, ExitCode.INVALID),
        (WorkflowError, ExitCode.INVALID),
        (UsageError, ExitCode.USAGE),
    )
    return next((code for kind, code in table if isinstance(error, kind)), ExitCode.FAILURE)
