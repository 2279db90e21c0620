"""Loggers for user code, and the handlers of the command line."""

import logging
from collections.abc import Iterator

import pytest

from meshflow.logger import get_logger, install


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """The root logger as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers, root.level = handlers, level


def test_a_logger_is_pythons_own() -> None:
    assert get_logger("a.b") is logging.getLogger("a.b")


def test_without_settings_messages_go_to_the_terminal_from_a_level_on() -> None:
    logging.getLogger().handlers = []  # pytest has put its own there
    install({}, logging.WARNING)
    assert logging.getLogger().level == logging.WARNING
    assert len(logging.getLogger().handlers) == 1


def test_settings_are_in_the_form_of_dict_config() -> None:
    install({"version": 1, "loggers": {"mine": {"level": "DEBUG"}}})
    assert logging.getLogger("mine").level == logging.DEBUG
    with pytest.raises(ValueError, match="version"):
        install({"version": 7})


def test_lightflows_own_section_works_without_colorlog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshflow.logger.find_spec", lambda name: None)
    colored = {"()": "colorlog.ColoredFormatter", "format": "%(log_color)s[%(levelname)s] %(message)s%(reset)s"}
    handler = {"class": "logging.StreamHandler", "formatter": "simple"}

    install({"formatters": {"simple": colored}, "handlers": {"h": handler}, "root": {"handlers": ["h"]}})

    formatter = logging.getLogger().handlers[0].formatter
    assert formatter is not None
    assert formatter._fmt == "[%(levelname)s] %(message)s"
