"""The command that trains: ``python -m ngu.train --env MontezumaRevenge``."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from ngu.checkpoint import DamagedCheckpoint
from ngu.console import log_to_console
from ngu.display import Display
from ngu.run_folder import RunFolder, default_run_path
from ngu.session import Session
from ngu.settings import SettingsError, TrainSettings, check_resumable, parse
from ngu.training import Stop, Training

logger = logging.getLogger("ngu")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code.

    0 when the frames are done, 130 or 143 when a signal stopped it, 2 for what the user has to
    mend (the message says what).
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    log_to_console()
    try:
        return _train(arguments)
    except (SettingsError, FileExistsError, FileNotFoundError, DamagedCheckpoint) as error:
        logger.error("%s", error)
    except FloatingPointError as error:
        logger.error("%s; the last checkpoint is from before it", error)
    return 2


def _train(arguments: list[str]) -> int:
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--resume", type=Path)
    known, rest = early.parse_known_args(arguments)
    if known.resume is None:
        settings, text, sources = parse(rest, "ngu.train")
        path = settings.run_dir or default_run_path(
            settings.env, settings.agent, settings.seed, "runs"
        )
        session = _session(settings)
        try:
            folder = RunFolder.create(
                path, config=text, seed=settings.seed, keep=settings.checkpoint.keep
            )
        except BaseException:
            session.close()
            raise
        logger.info("settings: %s; run folder: %s", ", ".join(sources), folder.path)
    else:
        folder = RunFolder.open(known.resume)
        base = folder.path / "config.yaml"
        settings, _, _ = parse(rest, "ngu.train", base=base)
        check_resumable(settings, base)
        folder.checkpoints.keep = settings.checkpoint.keep
        session = _session(settings)
    title = f"{settings.agent} on {settings.env}, seed {settings.seed}"
    with Stop() as stop, Display(settings.frames, title) as display:
        try:
            training = Training(session, folder, display)
            if known.resume is None:
                session.begin()
            else:
                training.resume()
            training.run(stop)
        finally:
            session.close()
    figures = session.status()
    if stop.signal is not None:
        logger.info(
            "stopped at %d frames; go on with: python -m ngu.train --resume %s",
            session.frames,
            folder.path,
        )
        return 128 + stop.signal
    folder.finish({**figures, "seconds": training.seconds})
    logger.info("done: %d frames in %s", session.frames, folder.path)
    return 0


def _session(settings: TrainSettings) -> Session:
    """A session, with what does not fit in the settings said in a sentence."""
    try:
        return Session(settings)
    except (ValueError, TypeError, ImportError) as error:
        raise SettingsError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
