"""Playing scenarios in tests."""

from meshflow.sim.scenario import Scenario, Story
from meshflow.sim.violation import Violation


def play(scenario: Scenario) -> Story:
    """Play and check a scenario; whatever goes wrong, the command that replays it is told."""
    story = Story(scenario)
    try:
        story.run()
    except Exception as problem:
        raise Violation(f"{problem!r}; to see it again: {scenario.command}") from problem
    return story
