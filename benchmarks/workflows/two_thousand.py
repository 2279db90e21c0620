"""Two thousand tasks side by side; none does anything."""

from meshflow.models import Dag
from meshflow.tasks import PythonTask


def nothing(data, store, signal, context):
    pass


two_thousand = Dag("two_thousand")
two_thousand.define({PythonTask(name=f"task_{number}", callback=nothing): None for number in range(2_000)})
