"""How a command speaks: log lines on standard error, above a live display where there is one."""

from __future__ import annotations

import logging

from rich.console import Console
from rich.logging import RichHandler


def log_to_console() -> None:
    """Send the library's log lines to standard error; warnings of other packages too."""
    console = Console(stderr=True)
    if console.is_terminal:
        handler: logging.Handler = RichHandler(
            console=console, show_path=False, show_level=False, log_time_format="%H:%M:%S "
        )
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    handler.addFilter(_mark_trouble)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    for name in ("ngu", "ngu_agents", "ngu_envs"):
        logging.getLogger(name).setLevel(logging.INFO)


def _mark_trouble(record: logging.LogRecord) -> bool:
    if record.levelno >= logging.WARNING:
        record.msg = f"{record.levelname.lower()}: {record.msg}"
    return True
