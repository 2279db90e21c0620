"""One task, then 200 side by side, then one that waits for all of them; none does anything."""

from meshflow.models import Dag
from meshflow.tasks import PythonTask


def nothing(data, store, signal, context):
    pass


fan = Dag("fan")
first, last = PythonTask(name="first", callback=nothing), PythonTask(name="last", callback=nothing)
middle = [PythonTask(name=f"task_{number}", callback=nothing) for number in range(200)]
fan.define({first: middle, **dict.fromkeys(middle, last)})
