"""The command that trains: ``python -m ngu.train --env MontezumaRevenge``."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from contextlib import closing

from rich.console import Console

from ngu.command import exit_code_of
from ngu.console import log_to_console
from ngu.display import Display
from ngu.parsing import check_resumable, parse
from ngu.run_folder import RunFolder, default_run_path
from ngu.sentences import EarlyParser
from ngu.session import Session, open_session
from ngu.settings import SettingsError
from ngu.training import Stop, Training

logger = logging.getLogger("ngu")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code.

    0 when the frames are done, 130 or 143 when a signal stopped it, or what
    :func:`ngu.command.exit_code_of` says.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    console = log_to_console()
    return exit_code_of(
        lambda: _train(arguments, console), stopped="stopped before training began", resumes=True
    )


def _train(arguments: list[str], console: Console) -> int:
    known, rest = EarlyParser("resume").parse_known_args(arguments)
    if known.resume is None:
        session, folder = _new(rest)
    else:
        session, folder = _resumed(known.resume, rest)
    settings = session.settings
    title = f"{settings.agent} on {settings.env}, seed {settings.seed}"
    display = Display(settings.frames, title, console)
    with closing(session), folder.held(), Stop() as stop, display:
        training = Training(session, folder, display)
        if known.resume is None:
            session.begin()
        else:
            training.resume()
        training.run(stop)
    if stop.signal is not None:
        logger.info(
            "stopped at %s frames; go on with: python -m ngu.train --resume %s",
            f"{session.frames:,}",
            folder.path,
        )
        return 128 + stop.signal
    folder.finish(training.final_figures())
    logger.info("done: %s frames in %s", f"{session.frames:,}", folder.path)
    return 0


def _new(arguments: list[str]) -> tuple[Session, RunFolder]:
    settings, text, sources = parse(arguments, "ngu.train")
    path = settings.run_dir or default_run_path(settings.env, settings.agent, settings.seed, "runs")
    session = open_session(settings)
    try:
        folder = RunFolder.create(
            path, config=text, seed=settings.seed, keep=settings.checkpoint.keep
        )
    except BaseException:
        session.close()
        raise
    logger.info("settings: %s; run folder: %s", ", ".join(sources), folder.path)
    return session, folder


def _resumed(run: str, arguments: list[str]) -> tuple[Session, RunFolder]:
    try:
        folder = RunFolder.open(run)
    except (ValueError, KeyError) as error:
        raise SettingsError(f"{run}/versions.json is damaged: {error}") from error
    base = folder.path / "config.yaml"
    settings, _, _ = parse(arguments, "ngu.train", base=base)
    check_resumable(settings, base)
    folder.checkpoints.keep = settings.checkpoint.keep
    return open_session(settings), folder


if __name__ == "__main__":
    sys.exit(main())
