"""joblib on the mesh, and with it whatever runs in parallel by joblib, such as scikit-learn.

    import meshflow.joblib_backend

    with joblib.parallel_config("meshflow"):
        search.fit(X, y)

Importing this module makes the name known to joblib. Each batch of joblib's is one call on the mesh.

Invariants:
1. What goes wrong with a batch, even while it is handed over, becomes the outcome of its future: joblib hands most
   batches over in a callback, where an error would be lost and its caller wait for ever.
2. joblib's callbacks, which draw from the generator of the user, run in threads of their own: the thread of the client
   has nodes to answer. One that waits holds up no other, for it may be another `Parallel` that it draws from.
3. When calls were ended, joblib has heard of them all before it goes on: it would take what it hears later for a part
   of the next work of the same `Parallel`.
4. Inside a task process nothing is handed over, so that no call waits for a slot that it holds itself.

Source: joblib, "Custom backend API" (1.5).
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from threading import Condition
from typing import Any

from joblib.parallel import AutoBatchingMixin, BatchedCalls, ParallelBackendBase, register_parallel_backend

from meshflow.call_future import CallFuture
from meshflow.calls import CallOptions
from meshflow.client import Client
from meshflow.shared_client import Kind, is_task_process, shared_client, slot_count

NAME = "meshflow"
"""What joblib calls this."""

_MIN_JOBS = 2
"""With 1, joblib would not hand anything over, although the one slot may be on another host."""

_MAX_THREADS = 1024
"""For callbacks. One is started only when all that are there wait."""

_ABORT_S = 2.0
"""How long joblib has to hear of what was ended: no time, unless a callback waits for the generator of the user."""

Callback = Callable[[Future[Any]], object]


class MeshflowBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """Makes the calls of `joblib.Parallel` on a mesh.

    `n_jobs` is for how many joblib makes its batches and hands over, twice as many at a time; all slots of the mesh
    unless it is given. With 1 the calls are made in the program itself. How many run at a time is up to the nodes.
    """

    default_n_jobs = -1
    supports_retrieve_callback = True

    def __init__(
        self,
        nesting_level: int | None = None,
        *,
        connect: str | None = None,
        client: Client | None = None,
        **options: Any,
    ) -> None:
        """`client` makes the calls; None: the one that this program has for `connect`, see `shared_client`. `options`
        are fields of `CallOptions`, such as the `queue`."""
        super().__init__(nesting_level=nesting_level)
        self._connect = connect
        self._client = client
        self._options = CallOptions(**options)
        self._out: set[Future[Any]] = set()
        """The batches of which joblib was not told yet what came of them."""
        self._told = Condition()
        self._callbacks = ThreadPoolExecutor(_MAX_THREADS, "meshflow-joblib")

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """For how many to make batches."""
        if n_jobs == 0:
            raise ValueError("n_jobs is 0; expected a number above, or below to count from the slots of the mesh")
        if n_jobs == 1 or is_task_process():
            return 1
        if n_jobs is not None and n_jobs > 0:
            return n_jobs
        slots = slot_count(self._connected(), self._options.queue)
        return max(_MIN_JOBS, slots + 1 + (-1 if n_jobs is None else n_jobs))

    def submit(self, func: BatchedCalls, callback: Callback | None = None) -> Future[Any]:
        """Hand over a batch; `callback` is called with its future when it has ended."""
        try:
            future = self._hand_over(func)
        except Exception as problem:  # Invariant 1.
            future = Future()
            future.set_exception(problem)
        if callback is not None:
            self._out.add(future)
            future.add_done_callback(lambda ended: self._ended(ended, callback))
        return future

    def retrieve_result_callback(self, out: Future[Any]) -> Any:
        """What came of a batch."""
        return out.result()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """End what was handed over and has not ended."""
        out = list(self._out)
        if out:
            self._connected().cancel([future for future in out if isinstance(future, CallFuture)])
            with self._told:
                self._told.wait_for(lambda: self._out.isdisjoint(out), _ABORT_S)

    def terminate(self) -> None:
        """A `Parallel` has done its work."""
        self.reset_batch_stats()

    def _connected(self) -> Client:
        if self._client is None:
            self._client = shared_client(self._connect)
        return self._client

    def _hand_over(self, batch: BatchedCalls) -> Future[Any]:
        function = batch.items[0][0]
        kind = Kind(make_batch, getattr(function, "__name__", type(function).__name__))
        return self._connected().options(**asdict(self._options)).submit(kind, batch)

    def _ended(self, future: Future[Any], callback: Callback) -> None:
        try:
            self._callbacks.submit(self._tell, future, callback)
        except RuntimeError:  # The program ends, and nobody waits any more.
            self._out.discard(future)

    def _tell(self, future: Future[Any], callback: Callback) -> None:
        try:
            callback(future)
        finally:
            with self._told:
                self._out.discard(future)
                self._told.notify_all()


def make_batch(batch: BatchedCalls) -> Any:
    """Make the calls of a batch: what the mesh is asked to call."""
    return batch()


register_parallel_backend(NAME, MeshflowBackend)
