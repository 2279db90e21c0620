"""From the plain form of events to their classes, and the stream of them: Lightflow's two functions."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from meshflow.models.exceptions import EventTypeUnknown, JobEventTypeUnsupported, WorkerEventTypeUnsupported

from .models import (
    JobAbortedEvent,
    JobCancelledEvent,
    JobEvent,
    JobFailedEvent,
    JobLostEvent,
    JobNotedEvent,
    JobQueuedEvent,
    JobSkippedEvent,
    JobStartedEvent,
    JobStoppedEvent,
    JobSucceededEvent,
)

if TYPE_CHECKING:
    from meshflow.client import Client

_MODELS: dict[str, type[JobEvent]] = {
    model.event: model
    for model in (
        JobStartedEvent,
        JobSucceededEvent,
        JobStoppedEvent,
        JobAbortedEvent,
        JobFailedEvent,
        JobSkippedEvent,
        JobQueuedEvent,
        JobLostEvent,
        JobCancelledEvent,
        JobNotedEvent,
    )
}


def create_event_model(event: Mapping[str, object]) -> JobEvent:
    """The event class for a plain event, chosen by its `type`.

    Raises:
        JobEventTypeUnsupported: a `task` event that is none of `JobEventName`.
        WorkerEventTypeUnsupported: any `worker` event.
        EventTypeUnknown: anything else.
    """
    kind = str(event["type"])
    if kind in _MODELS:
        return _MODELS[kind].from_event(event)
    if kind.startswith("task"):
        raise JobEventTypeUnsupported(f"unknown job event type {kind!r}; known are {', '.join(sorted(_MODELS))}")
    if kind.startswith("worker"):
        raise WorkerEventTypeUnsupported(f"worker events are not supported; got {kind!r}")
    raise EventTypeUnknown(f"unknown event type {kind!r}; job events start with 'task-lightflow-'")


def event_stream(client: "Client", *, filter_by_prefix: str | None = None) -> Iterator[dict[str, object]]:
    """The events of all runs from now on, in plain form; those whose `type` starts with the prefix, if one is given."""
    for event in client.events():
        plain = event.to_event()
        if filter_by_prefix is None or str(plain["type"]).startswith(filter_by_prefix):
            yield plain
