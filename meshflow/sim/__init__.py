"""A whole mesh in one process and in virtual time: the real core under a simulated network, store and task processes.

One seed decides everything, so that a failure is a number that anyone can replay.
"""
