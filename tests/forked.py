"""Runs ngu.train in processes of their own without importing torch anew for each.

Run as a script it is a server that has everything imported: it reads one request a line, forks a
child for it and answers with a line. The children are ordinary processes, to be killed at will.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any


class Trainings:
    """Starts training processes."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, str(Path(__file__)), "serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    def start(self, *arguments: object, output: Path, largest_file: int | None = None) -> int:
        """Start `ngu.train` with these arguments; returns the number of its process.

        `output` takes what it writes; `largest_file` are the bytes that a file of it may have.
        """
        words = [str(argument) for argument in arguments]
        return self._ask({"start": words, "output": str(output), "largest_file": largest_file})

    def wait(self, process: int) -> int:
        """The exit code of a process, minus the signal that killed it."""
        return self._ask({"wait": process})

    def run(self, *arguments: object, output: Path, largest_file: int | None = None) -> int:
        return self.wait(self.start(*arguments, output=output, largest_file=largest_file))

    def close(self) -> None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.stdout.close()
        self._server.wait()

    def _ask(self, request: dict[str, Any]) -> int:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())


def _serve() -> None:
    # Optimisers import it when they are made, which would cost each child a second.
    import torch._dynamo  # noqa: F401

    from ngu.train import main

    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                os._exit(_child(main, request))
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


def _child(main: Any, request: dict[str, Any]) -> int:
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    if request["largest_file"] is not None:
        # Python ignores the signal already; forked children would not without this.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["largest_file"],) * 2)
    try:
        return main(request["start"])
    except BaseException:
        import traceback

        traceback.print_exc()
        return 99


if __name__ == "__main__":
    _serve()
