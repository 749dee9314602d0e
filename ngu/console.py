"""How a command speaks: log lines on standard error, above a live display where there is one."""

from __future__ import annotations

import logging

from rich.console import Console


def log_to_console() -> Console:
    """Send the library's log lines to standard error; warnings of other packages too.

    Returns:
        The console of standard error; what is live on it stays below the log lines.
    """
    console = Console(stderr=True)
    handler = _ConsoleHandler(console)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    handler.addFilter(_mark_trouble)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    for name in ("ngu", "ngu_agents", "ngu_envs"):
        logging.getLogger(name).setLevel(logging.INFO)
    return console


class _ConsoleHandler(logging.Handler):
    """Prints lines without breaking them, so that a command in one can be copied."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        self._console.print(line, soft_wrap=True, markup=False, highlight=False, emoji=False)


def _mark_trouble(record: logging.LogRecord) -> bool:
    if record.levelno >= logging.WARNING:
        record.msg = f"{record.levelname.lower()}: {record.msg}"
    return True
