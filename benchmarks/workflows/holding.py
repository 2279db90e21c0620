"""One task that holds the lock of its interpreter for about a second at a time, for as long as its argument says."""

import time

from meshflow.models import Dag, Option, Parameters
from meshflow.tasks import PythonTask

parameters = Parameters([Option("seconds", default=10.0, help="How long", type=float)])


def hold(data, store, signal, context):
    until = time.monotonic() + store.get("seconds")
    while time.monotonic() < until:
        sum(range(50_000_000))  # one call of C, which lets no other thread run


holding = Dag("holding")
holding.define({PythonTask(name="hold", callback=hold): None})
