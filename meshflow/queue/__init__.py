"""Lightflow's names for jobs, queues and their events; see `meshflow.queue.models` for the classes."""

from .const import DefaultJobQueueName, JobEventName, JobExecPath, JobStatus, JobType

__all__ = ["DefaultJobQueueName", "JobEventName", "JobExecPath", "JobStatus", "JobType"]
