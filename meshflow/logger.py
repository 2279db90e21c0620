"""Logging: Lightflow's `get_logger` for user code, and the handlers that the command line installs.

Libraries do not install handlers, so nothing here runs by itself.
"""

import logging
import logging.config
from collections.abc import Mapping
from typing import Any

_LINE = "%(asctime)s %(levelname)-7s %(message)s"


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
        logging.config.dictConfig({"version": 1, "disable_existing_loggers": False, **settings})
        return
    logging.basicConfig(level=level, format=_LINE, datefmt="%H:%M:%S")
