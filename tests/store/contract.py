"""What every store promises (`meshflow/store/base.py`, `meshflow/core/requests.py`), as tests.

A suite subclasses StoreContract and gives it a fixture `store_factory`:

    class TestMyStore(StoreContract):
        @pytest.fixture
        def store_factory(self) -> Iterator[StoreFactory]: ...

`store_factory()` gives a handle to a store that was empty when the test began; all handles of one test lead to the same
store. The fixture closes the handles that it gave out.
"""

from tests.store.contract_base import StoreFactory
from tests.store.contract_cache import CacheContract
from tests.store.contract_copies import CopyContract
from tests.store.contract_document import DocumentContract
from tests.store.contract_log import LogContract
from tests.store.contract_removal import RemovalContract
from tests.store.contract_runs import RunContract

__all__ = ["StoreContract", "StoreFactory"]


class StoreContract(RunContract, LogContract, DocumentContract, RemovalContract, CacheContract, CopyContract):
    """All of it."""
