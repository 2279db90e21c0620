"""How long tasks take here, and how many jobs beyond the running ones are worth holding."""

_WEIGHT = 0.2
"""Of the latest task in the average: what runs now counts, one odd task does not."""

_MAX_GROWTH = 4
"""A task counts as so many average ones at most: one that was held up says little about the next."""

_SHORTEST_S = 1e-4
"""What is done for a task here and at its owner takes about so long, however short it is itself."""


class Pace:
    """The measured duration of tasks. `horizon_s`: work worth holding, in seconds; `max_prefetch`: jobs at most."""

    def __init__(self, horizon_s: float, max_prefetch: int) -> None:
        self._horizon_s = horizon_s
        self._max_prefetch = max_prefetch
        self._average_s: float | None = None

    @property
    def is_measured(self) -> bool:
        """Whether anything is known yet."""
        return self._average_s is not None

    def took(self, seconds: float, own_s: float = 0.0) -> None:
        """A task took so long. `own_s`: as its process saw it, where most of `seconds` may be waiting for a CPU; it can
        be nonsense, because clocks are set."""
        if 0.0 < own_s < seconds:
            seconds = own_s
        if self._average_s is None:
            self._average_s = seconds
        else:
            most_s = _MAX_GROWTH * max(self._average_s, _SHORTEST_S)
            self._average_s += _WEIGHT * (min(seconds, most_s) - self._average_s)

    def is_at_least(self, seconds: float) -> None:
        """Tasks that run now take at least so long."""
        self._average_s = max(self._average_s or 0.0, seconds)

    def prefetch(self, slots: int) -> int:
        """How many jobs to hold beyond what `slots` run; none before anything was measured."""
        return min(self._max_prefetch, self.jobs_in(slots * self._horizon_s))

    def jobs_in(self, seconds: float) -> int:
        """How many jobs a slot does in that time; none before anything was measured."""
        return 0 if self._average_s is None else int(seconds / max(self._average_s, _SHORTEST_S))
