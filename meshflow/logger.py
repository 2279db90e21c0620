"""Logging: Lightflow's `get_logger` for user code, and the handlers that the command line installs.

Libraries do not install handlers, so nothing here runs by itself.
"""

import logging
import logging.config
import os
import re
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

_LINE = "%(asctime)s %(levelname)-7s %(message)s"

_COLORS = re.compile(
    r"%\((?:\w*log_color|reset|bold|thin|(?:[fb]g_)?(?:black|red|green|yellow|blue|purple|cyan|white))\)s"
)
"""Fields that only colorlog knows."""


def get_logger(name: str) -> logging.Logger:
    """The logger of that name, for workflows and tasks; what a task logs is kept with its output."""
    return logging.getLogger(name)


def install(settings: Mapping[str, Any], level: int = logging.INFO) -> None:
    """Have log messages shown as the section `logging` of the configuration says (`dictConfig` form); if that is empty,
    on stderr from `level` on.

    Raises:
        ValueError: the section is not in that form.
    """
    if settings:
        plain = {**settings, "formatters": _without_colorlog(settings.get("formatters", {}))}
        before = os.umask(0o077)  # for files that it names: a log is for the user of the node alone
        try:
            logging.config.dictConfig({"version": 1, "disable_existing_loggers": False, **plain})
        finally:
            os.umask(before)
        return
    logging.basicConfig(level=level, format=_LINE, datefmt="%H:%M:%S")


def _without_colorlog(formatters: Mapping[str, Any]) -> dict[str, Any]:
    """Lightflow's default section asks for formatters of the package colorlog. Where that is not installed, plain ones
    take their place, without the fields that stand for colours."""
    if find_spec("colorlog") is not None:
        return dict(formatters)
    return {
        name: {
            key: _COLORS.sub("", value) if key == "format" else value
            for key, value in formatter.items()
            if key not in ("()", "class", "log_colors", "secondary_log_colors", "reset")
        }
        if "colorlog" in str(formatter.get("()", formatter.get("class", "")))
        else formatter
        for name, formatter in formatters.items()
    }
