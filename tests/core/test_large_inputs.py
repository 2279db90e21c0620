"""What is too much for one message goes through the store, and not more than that."""

from meshflow.core.asks import Asks
from meshflow.core.effects import Ask, Send
from meshflow.core.large_inputs import LargeInputs
from meshflow.core.messages import Input, Work
from meshflow.core.ownership import RunLog
from meshflow.core.records import TaskStarted, Value
from meshflow.core.requests import PutBlob, Request
from tests.core.builders import ANN, ME, RUN, attempt, dag, ended
from tests.core.driven import DrivenDag, write

KEY = f"value/{RUN}/inputs/1"


def given(name: str, size_bytes: int) -> Input:
    return Input(name, None, Value(name.encode() * size_bytes))


def kept(name: str, number: int, size_bytes: int) -> Input:
    return Input(name, None, Value(b"", f"{KEY}.{number}", size_bytes))


def gathering() -> DrivenDag:
    """`c` and `d` get the results of `a` and `b`, which are 600 bytes each."""
    driven = DrivenDag(dag("a b c d", "a>c b>c a>d b>d"), max_inputs_bytes=1000)
    driven.fold.apply(ended(0, value=Value(b"a" * 600)))
    driven.fold.apply(ended(1, value=Value(b"b" * 600)))
    driven.begin()
    return driven


class Fitting:
    """Inputs of up to 1000 bytes."""

    def __init__(self) -> None:
        self.log = RunLog(RUN, ME, 1, 1, Asks())
        self.large = LargeInputs(self.log, 1000)

    def fit(self, *inputs: Input) -> tuple[tuple[Input, ...], list[Request]]:
        fitting = self.large.fit(inputs)
        return fitting, write(lambda: self.log.flush(0.0), self.log).requests


def test_inputs_that_fit_travel_as_they_are() -> None:
    inputs = (given("a", 400), given("b", 400))
    assert Fitting().fit(*inputs) == (inputs, [])


def test_the_largest_go_through_the_store_until_the_rest_fits() -> None:
    assert Fitting().fit(given("a", 100), given("b", 900), given("c", 500), given("d", 200)) == (
        (given("a", 100), kept("b", 0, 900), kept("c", 1, 500), given("d", 200)),
        [PutBlob(RUN, f"{KEY}.0", b"b" * 900), PutBlob(RUN, f"{KEY}.1", b"c" * 500)],
    )


def test_what_is_in_the_store_already_stays_there() -> None:
    stored = Input("x", None, Value(b"", "value/of/x", 10**9))
    assert Fitting().fit(stored, given("a", 2000))[0] == (stored, kept("a", 0, 2000))


def test_a_value_is_put_into_the_store_once_for_all_who_get_it() -> None:
    fitting = Fitting()
    first, _ = fitting.fit(given("a", 2000))
    assert fitting.fit(given("a", 2000), given("b", 1)) == ((*first, given("b", 1)), [])


def test_more_small_values_than_a_message_takes_are_no_reason_to_give_up() -> None:
    inputs = [given(str(number % 10), 1) for number in range(100)]
    assert len(Fitting().fit(*inputs)[0]) == 100


def test_such_a_job_leaves_when_the_store_has_what_it_needs() -> None:
    driven = gathering()
    assert driven.owner.hand_out(2, ANN, 0.0) is None
    written = driven.write()
    assert PutBlob(RUN, f"{KEY}.0", b"a" * 600) in written.requests
    assert TaskStarted(2, 1, 1, ANN) in written.entries
    (effect,) = written.released
    assert isinstance(effect, Send)
    assert isinstance(effect.message, Work)
    (job,) = effect.message.jobs
    assert (job.attempt, job.inputs) == (attempt(2), (kept("a", 0, 600), Input("b", None, Value(b"b" * 600))))
    assert effect.message.codes == {"code of c": b"code of c"}


def test_a_second_job_does_not_overtake_what_the_first_has_put() -> None:
    driven = gathering()
    assert [driven.owner.hand_out(task, ANN, 0.0) for task in (2, 3)] == [None, None]
    written = driven.write()
    assert sum(isinstance(request, PutBlob) for request in written.requests) == 1
    assert [type(effect) for effect in written.released] == [Send, Send]


def test_what_goes_to_the_store_is_spread_over_several_batches() -> None:
    """A store that is reached through the mesh gets them in messages, too."""
    count, size_bytes = 200, 60_000
    names = [f"p{number}" for number in range(count)]
    spec = dag(" ".join([*names, "z"]), " ".join(f"{name}>z" for name in names))
    driven = DrivenDag(spec, max_inputs_bytes=1000)
    for number in range(count):
        driven.fold.apply(ended(number, value=Value(bytes(size_bytes))))
    driven.begin()
    assert driven.owner.hand_out(count, ANN, 0.0) is None
    asks = 0
    while (effects := driven.owner.flush(0.0, 1.0)) and isinstance(effects[-1], Ask):
        asks += 1
        driven.log.answered([True] * len(effects[-1].requests))
    assert asks >= 3
