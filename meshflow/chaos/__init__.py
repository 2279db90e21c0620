"""Chaos: a real mesh of real processes, faults from a seed, and a checker that knows nothing of either.

`schedule` draws what is done to whom; `sandbox` and `hosts` make hosts of network namespaces, or of folders where there
may be none; `faults` applies and proves, with `delay` for frames that take their time; `plans` and `workflows` say what
is run and what must come of it; `game` plays round after round; `evidence` gathers what happened into a `history`, and
`checker` judges that alone.
"""
