"""Tests that use a mesh: the fixture `mesh` is a client of one that lives as long as the session of pytest. Run it:

pytest examples/programs/test_with_mesh.py
"""

import os


def double(number):
    return 2 * number


def test_a_function_is_called_in_another_process(mesh):
    assert mesh.submit(os.getpid).result() != os.getpid()


def test_results_come_in_order(mesh):
    assert mesh.gather(mesh.map(double, range(4))) == [0, 2, 4, 6]
