"""What a task is told of its surroundings."""

from meshflow.models.task_context import TaskContext


def test_the_attributes_and_the_dictionary_say_the_same() -> None:
    context = TaskContext("task", "main_dag:1", "workflow", "5f" * 12, "node-1")
    expected = {
        "task_name": "task",
        "dag_name": "main_dag:1",
        "workflow_name": "workflow",
        "workflow_id": "5f" * 12,
        "worker_hostname": "node-1",
    }
    assert context.to_dict() == expected
    assert {name: getattr(context, name) for name in expected} == expected
