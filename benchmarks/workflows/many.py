"""Ten thousand tasks side by side; none does anything."""

from meshflow.models import Dag
from meshflow.tasks import PythonTask


def nothing(data, store, signal, context):
    pass


many = Dag("many")
many.define({PythonTask(name=f"task_{number}", callback=nothing): None for number in range(10_000)})
