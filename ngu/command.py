"""How a command ends: its exit code, and the sentence for what the user has to mend."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable

from ngu.checkpoint import DamagedCheckpoint
from ngu.sentences import SettingsError
from ngu_envs import WorkerDiedError

logger = logging.getLogger(__name__)


def exit_code_of(run: Callable[[], int], *, stopped: str = "stopped", resumes: bool = False) -> int:
    """Run a command; what it returns is its exit code.

    Else 2 for what the user has to mend (the message says what), 1 when a process with environments
    died, 130 when Ctrl-C came.

    Args:
        run: the command.
        stopped: what it says when Ctrl-C came.
        resumes: whether it can be gone on with from its last checkpoint.
    """
    try:
        return run()
    except (SettingsError, OSError, DamagedCheckpoint) as error:
        logger.error("%s", error)
    except FloatingPointError as error:
        logger.error("%s; the last checkpoint is from before it", error)
    except WorkerDiedError as error:
        how = "; --resume goes on from the last checkpoint" if resumes else ""
        logger.error("%s%s", error, how)
        return 1
    except KeyboardInterrupt:
        logger.info("%s", stopped)
        return 128 + signal.SIGINT
    return 2
