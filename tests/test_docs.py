"""What can be set, sent, seen and called is in the documents; a name that is missing there fails here.

In PROTOCOL.md each message, and each part of one, has a heading that contains its name. The text up to the next heading
names its fields, written as code. Elsewhere it is enough that a name stands in one of the documents, names of settings
and options written as code.
"""

import ast
import functools
import re
import typing
from collections.abc import Iterator
from importlib import import_module

import click
import pytest

from meshflow.core.events import Event
from meshflow.core.messages import Message
from meshflow.tags import TAGS
from meshflow.wire import PROTOCOL_VERSION
from tests.source_tree import ROOT, modules

LAST_PART_OF_A_MESSAGE = 59
"""Tags up to this one are of messages and their parts; the rest is of what stores keep and are asked."""

HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`[^`\n]+`")
WORD = re.compile(r"-{0,2}\w[\w-]*")


def document(name: str) -> str:
    """The text of a document in the root of the repository."""
    path = ROOT / name
    if not path.is_file():
        pytest.fail(f"{name} does not exist", pytrace=False)
    return path.read_text()


@functools.cache
def all_documents() -> str:
    """The text of all documents, one after the other."""
    names = ["README.md", "ARCHITECTURE.md", "PROTOCOL.md"]
    names += [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").glob("*.md"))]
    return "\n".join(map(document, names))


def words_in_code(text: str) -> dict[str, None]:
    """The words that stand in code spans and code blocks, options with their dashes."""
    code = FENCE.findall(text) + SPAN.findall(FENCE.sub("", text))
    return dict.fromkeys(word for part in code for word in WORD.findall(part))


def require(missing: list[str], where: str) -> None:
    """Fail with all that is missing, if anything is."""
    if missing:
        pytest.fail(f"not in {where}:\n" + "\n".join(missing), pytrace=False)


def section_of(name: str, text: str) -> str | None:
    """The text below the heading that contains `name`, or None if there is no such heading."""
    parts = HEADING.split(text)
    for heading, body in zip(parts[1::2], parts[2::2], strict=True):
        if name in WORD.findall(heading):
            return body
    return None


# --- what is sent ---


@pytest.mark.parametrize(
    "tag", [tag for tag in TAGS if tag <= LAST_PART_OF_A_MESSAGE], ids=lambda tag: TAGS[tag].__name__
)
def test_the_protocol_describes_the_message_with_its_tag_and_fields(tag: int) -> None:
    cls = TAGS[tag]
    section = section_of(cls.__name__, document("PROTOCOL.md"))
    if section is None:
        pytest.fail(f"PROTOCOL.md has no heading with {cls.__name__} (tag {tag}) in it", pytrace=False)
    words = words_in_code(section)
    require(
        [each for each in typing.get_type_hints(cls) if each not in words], f"the section of {cls.__name__}, as code"
    )


def test_the_protocol_lists_every_tag() -> None:
    """As rows of a table: the tag, then the class as code."""
    text = document("PROTOCOL.md")
    rows = [f"| {tag} | `{cls.__name__}` |" for tag, cls in TAGS.items()]
    require([row for row in rows if row not in text], "PROTOCOL.md")


def test_the_protocol_names_its_version() -> None:
    require([text for text in [f"version {PROTOCOL_VERSION}"] if text not in document("PROTOCOL.md")], "PROTOCOL.md")


def test_every_message_has_a_tag_of_its_own_kind() -> None:
    """So that the tests above leave none out."""
    tags = {cls: tag for tag, cls in TAGS.items()}
    assert all(tags[cls] <= LAST_PART_OF_A_MESSAGE for cls in typing.get_args(Message))


# --- what happens ---


def test_every_event_is_in_a_document() -> None:
    words = dict.fromkeys(WORD.findall(all_documents()))
    require([cls.__name__ for cls in typing.get_args(Event) if cls.__name__ not in words], "any document")


# --- what can be set ---


def settings() -> Iterator[str]:
    """`class.field` of every settings class, of the tree that users write and of the machines of the core."""
    for module in modules().values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef) and node.name.endswith("Settings"):
                for field in node.body:
                    if isinstance(field, ast.AnnAssign):
                        yield f"{node.name}.{ast.unparse(field.target)}"


def test_every_setting_is_in_a_document() -> None:
    words = words_in_code(all_documents())
    require([each for each in settings() if each.rpartition(".")[2] not in words], "any document, as code")


# --- what can be called ---


@functools.cache
def commands() -> dict[str, click.Command]:
    """`{what to type: command}` of the whole command line, hidden commands too."""
    app = import_module("meshflow.cli.app")
    found: dict[str, click.Command] = {}

    def visit(typed: str, command: click.Command) -> None:
        found[typed] = command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in list(app.COMMANDS) if command is app.cli else command.list_commands(context):
                inner = command.get_command(context, name)
                assert inner is not None, f"{typed} lists {name}, but has no such command"
                visit(f"{typed} {name}", inner)

    visit("meshflow", app.cli)
    return found


def test_every_command_is_in_a_document() -> None:
    text = all_documents()
    require([typed for typed in commands() if not re.search(rf"\b{re.escape(typed)}\b", text)], "any document")


def test_every_option_is_in_a_document() -> None:
    words = words_in_code(all_documents())
    require(
        [
            f"{typed} {max(option.opts, key=len)}"
            for typed, command in commands().items()
            for option in command.params
            if isinstance(option, click.Option) and max(option.opts, key=len) not in words
        ],
        "any document, as code",
    )
