"""Parameters that may be computed at run time."""

import pickle
from copy import deepcopy

import pytest

from meshflow.models.task_parameters import TaskParameters


def test_items_are_attributes() -> None:
    parameters = TaskParameters(a=1)
    parameters.b = 2
    assert (parameters.a, parameters["b"], dict(parameters)) == (1, 2, {"a": 1, "b": 2})
    del parameters.a
    assert parameters == {"b": 2}


def test_a_missing_attribute_is_an_attribute_error() -> None:
    parameters = TaskParameters(a=1)
    with pytest.raises(AttributeError, match=r"no parameter 'x'; the parameters are: a$"):
        _ = parameters.x
    with pytest.raises(AttributeError, match="no parameter 'x'"):
        del parameters.x
    with pytest.raises(AttributeError, match=r"no parameter 'x'; the parameters are: none$"):
        TaskParameters().eval_single("x", None, None)
    assert not hasattr(parameters, "x")


def test_eval_computes_callables_in_a_new_object() -> None:
    parameters = TaskParameters(fixed=1, computed=lambda data, store: (data, store), cls=complex)
    result = parameters.eval(3, 4)
    assert result == {"fixed": 1, "computed": (3, 4), "cls": 3 + 4j}
    assert isinstance(result, TaskParameters)
    assert callable(parameters.computed)


def test_excluded_names_are_neither_computed_nor_in_the_result() -> None:
    def fail(data: object, store: object) -> None:
        raise AssertionError

    assert TaskParameters(a=1, b=fail).eval(None, None, exclude=["b"]) == {"a": 1}


def test_parameters_survive_copies_and_pickles() -> None:
    parameters = TaskParameters(a=[1])
    for copy in (deepcopy(parameters), pickle.loads(pickle.dumps(parameters))):
        assert (copy.a, type(copy)) == ([1], TaskParameters)
        assert copy.a is not parameters.a


def test_eval_single_computes_one() -> None:
    parameters = TaskParameters(a=1, b=lambda data, store: data + store)
    assert (parameters.eval_single("a", 1, 2), parameters.eval_single("b", 1, 2)) == (1, 3)
