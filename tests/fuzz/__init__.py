"""Random and damaged input for all that reads bytes from outside; `python -m tests.fuzz` runs millions."""
