"""How do Celery, Dask and Ray do the same work on the same machine?

Two processes run tasks in each system. All but MeshFlow keep their state in memory only; MeshFlow's times include
importing and pickling the workflow, and writing its log to disk.
"""

from benchmarks.measure import Figure, Report, repeat
from benchmarks.mesh import WORKFLOWS, runner, running_mesh
from benchmarks.peer import shapes
from benchmarks.systems import CELERY, DASK, OURS, RAY, in_rounds, measured
from meshflow.config import EXAMPLES
from meshflow.version import __version__

_ROUNDS = 2
_MEASURE_S = 300.0
_PEERS = {peer.name: peer for peer in (CELERY, DASK, RAY)}


def measure() -> Report:
    """Two rounds."""
    times: dict[str, dict[str, list[float]]] = {name: {} for name in (OURS, *_PEERS)}
    versions = {OURS: __version__}

    def add(name: str) -> None:
        if name == OURS:
            found = _measure_ours()
        else:
            answer = measured(_PEERS[name], f"{_PEERS[name].key}_peer", timeout_s=_MEASURE_S)
            found, versions[name] = answer["times"], answer["version"]
        for shape, each in found.items():
            times[name].setdefault(shape, []).extend(each)

    skipped = in_rounds(list(times), _ROUNDS, add)
    figures = [_figure(shape, name, values[shape]) for shape in shapes.RUNS for name, values in times.items() if values]
    question = "How do Celery, Dask and Ray do the same work on the same machine?"
    return Report(question, tuple(figures), versions, skipped)


def _figure(shape: str, system: str, times_ms: list[float]) -> Figure:
    if shape == shapes.NO_OPS:
        return Figure(f"{shape}, {system}", "tasks/s", tuple(1000 * shapes.MANY / each for each in times_ms))
    return Figure(f"{shape}, {system}", "ms", tuple(times_ms))


def _measure_ours() -> dict[str, list[float]]:
    files = {
        shapes.SIMPLE: EXAMPLES / "simple.py",
        shapes.CHAINED: WORKFLOWS / "chain.py",
        shapes.FAN: WORKFLOWS / "fan.py",
        shapes.NO_OPS: WORKFLOWS / "two_thousand.py",
    }
    with running_mesh() as client:
        return {shape: list(repeat(runner(client, file), shapes.RUNS[shape])) for shape, file in files.items()}
