"""The pure core: state machines that are given messages and the time, and return effects. No I/O lives here."""
