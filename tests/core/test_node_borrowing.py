"""A node without a store of its own, asked for it by others."""

from meshflow.core.client_messages import StoreAnswers, StoreAsk
from meshflow.core.requests import LoadRun
from meshflow.ids import NodeId
from tests.core.builders import WF
from tests.core.noding import Noding

CLIENT = NodeId("client")


def test_a_node_that_borrows_its_store_passes_on_what_clients_ask_and_not_what_another_borrower_asks() -> None:
    noding = Noding(has_store=False)
    noding.settle()
    noding.handle(CLIENT, StoreAsk(7, (LoadRun(WF),), is_borrowed=True))
    assert noding.pop_sent(CLIENT) == [StoreAnswers(7, (), "it has no store of its own")]
    noding.handle(CLIENT, StoreAsk(8, (LoadRun(WF),)))
    assert len(noding.asks) == 1
