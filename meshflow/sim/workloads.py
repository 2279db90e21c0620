"""Workflows to suffer under a schedule of faults: small, of random shape, and with answers that can be checked."""

import random
from dataclasses import replace
from functools import partial
from itertools import pairwise

from meshflow.core.graph import DagDefinition, WorkflowSpec
from meshflow.core.records import State, Stop
from meshflow.sim.cluster import Cluster
from meshflow.sim.programs import Options, Program, define, workflow

_DURATIONS_S = (0.001, 0.02, 0.3, 1.0)
_JOINS = (("join_dags", "mine"), ("join_dags", ""))


def random_workflow(rng: random.Random, number: int, max_tasks: int = 9) -> tuple[WorkflowSpec, list[DagDefinition]]:
    """A workflow with branches, limits, retries, priorities, `at_most_once`, and sub-dags with joins. One in four has a
    task that fails, aborts the workflow, or ends itself early."""
    names = [f"t{index}" for index in range(rng.randint(2, max_tasks))]
    edges = [
        (names[parent], name)
        for index, name in enumerate(names)
        for parent in range(index)
        if rng.random() < 2.0 / max(2, index)
    ]
    tasks: dict[str, Program] = {}
    options: dict[str, Options] = {}
    for name in names:
        failures = 1 if rng.random() < 0.15 else 0
        children = [child for parent, child in edges if parent == name]
        tasks[name] = _program(rng, children, failures)
        options[name] = {
            "retries": failures,
            "retry_delay_s": rng.choice((0.0, 0.05)),
            "at_most_once": failures == 0 and rng.random() < 0.1,
            "force_run": rng.random() < 0.05,
            "propagate_skip": rng.random() < 0.9,
            "priority": rng.randint(0, 2),
        }
    if rng.random() < 0.25:
        _spoil(rng, tasks, rng.choice(names))
    _map_some(random.Random(repr(edges)), tasks, edges, options)
    main = define("main", tasks, edges, options)
    sub = {"s1": Program(0.01), "s2": Program(0.02, (("start_dag", "leaf"), *rng.choice((_JOINS[:1], ()))))}
    dags = [
        main,
        define("sub", sub, [("s1", "s2")], autostart=False),
        define("leaf", {"l": Program(0.005)}, [], autostart=False),
    ]
    return workflow(f"random{number}", dags), dags


def _program(rng: random.Random, children: list[str], failures: int) -> Program:
    limit = None
    if children and rng.random() < 0.2:
        limit = tuple(child for child in children if rng.random() < 0.5)
    signals: tuple[tuple[str, str], ...] = ()
    if rng.random() < 0.1:
        signals = (("start_dag", "sub"),) * rng.randint(1, 3)
        if rng.random() < 0.7:
            signals += (rng.choice(_JOINS),)
    return Program(rng.choice(_DURATIONS_S), signals, limit=limit, failures=failures)


def _map_some(
    rng: random.Random, tasks: dict[str, Program], edges: list[tuple[str, str]], options: dict[str, Options]
) -> None:
    """Make some tasks mapped ones."""
    for name in tasks:
        if rng.random() < 0.15:
            tasks[name] = replace(tasks[name], rows=rng.choice((0, 1, 2, 5)))
            parents = [parent for parent, child in edges if child == name]
            options[name]["splits"] = tuple(parent for parent in parents if rng.random() < 0.5)


def _spoil(rng: random.Random, tasks: dict[str, Program], name: str) -> None:
    """Let one task end otherwise than by its end."""
    program = tasks[name]
    match rng.randrange(5):
        case 0:
            tasks[name] = Program(program.duration_s, state=State.FAILED)
        case 1:
            tasks[name] = Program(program.duration_s, state=State.ABORTED)
        case 2:
            tasks[name] = Program(program.duration_s, state=State.STOPPED)
        case 3:
            tasks[name] = Program(program.duration_s, state=State.STOPPED, limit=())
        case _:
            tasks[name] = Program(program.duration_s, (("stop_workflow", ""),))


def submit_random(cluster: Cluster, rng: random.Random, count: int, max_tasks: int, within_s: float) -> None:
    """Have `count` random workflows submitted within the next seconds; one in ten is asked to stop soon after."""

    def submit(number: int) -> None:
        run = cluster.submit(*random_workflow(rng, number, max_tasks))
        if rng.random() < 0.1:
            stop = rng.choice((Stop.STOP, Stop.CANCEL))
            cluster.world.clock.after(rng.uniform(0.0, 1.0), lambda: cluster.ask_stop(run, stop))

    for number in range(count):
        cluster.world.clock.after(rng.uniform(0.0, within_s), partial(submit, number))


def flat(count: int, duration_s: float) -> tuple[WorkflowSpec, list[DagDefinition]]:
    """A workflow of `count` tasks that do not depend on each other."""
    dag = define("flat", {f"t{index}": Program(duration_s) for index in range(count)}, [])
    return workflow("flat", [dag]), [dag]


def chain(count: int, duration_s: float) -> tuple[WorkflowSpec, list[DagDefinition]]:
    """A workflow of `count` tasks, each of which needs the one before."""
    names = [f"t{index}" for index in range(count)]
    dag = define("chain", {name: Program(duration_s) for name in names}, list(pairwise(names)))
    return workflow("chain", [dag]), [dag]
