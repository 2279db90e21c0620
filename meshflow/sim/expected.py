"""What must become of the tasks of a dag if nothing goes wrong: a second, plain reading of the rules.

It looks at the whole graph at once and knows nothing of logs, attempts or nodes.
"""

from meshflow.core.graph import DagDefinition, TaskSpec
from meshflow.core.records import State
from meshflow.sim.programs import Program


def program_of(definition: DagDefinition, task: int) -> Program:
    """What the task does."""
    spec = definition.spec.tasks[task]
    return Program.decode(definition.payloads[spec.payload]).of(is_split=spec.splits is not None)


def own_state(spec: TaskSpec, program: Program) -> State:
    """How the task ends if it is run as often as it may be."""
    return State.FAILED if program.failures > spec.retries else program.state


def expected_states(definition: DagDefinition) -> list[State]:
    """The end of each task, if nobody stops the run and no node dies too often. Tasks behind one that fails count as
    if it had not: the run ends there. Instances are tasks of the dag (`mapped.py`)."""
    spec = definition.spec
    parents: list[list[int]] = [[] for _ in spec.tasks]
    for edge in spec.edges:
        parents[edge.child].append(edge.parent)
    programs = [program_of(definition, task) for task in range(len(spec.tasks))]
    states: dict[int, State] = {}

    instances = {task.name: None for task in spec.tasks if task.name.endswith("]")}
    split = {name.rpartition("[")[0]: None for name in instances}

    def lets(parent: int, name: str) -> bool:
        if spec.tasks[parent].name in split:
            return False
        if states[parent] is State.SKIPPED:
            return not spec.tasks[parent].propagate_skip
        limit = programs[parent].limit
        return limit is None or name in limit

    while len(states) < len(spec.tasks):
        for task, mine in enumerate(spec.tasks):
            if task not in states and all(parent in states for parent in parents[task]):
                runs = not parents[task] or mine.force_run or mine.name in instances
                runs = runs or any(lets(parent, mine.name) for parent in parents[task])
                states[task] = own_state(mine, programs[task]) if runs else State.SKIPPED
    return [states[task] for task in range(len(spec.tasks))]
