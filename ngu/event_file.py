"""Scalars for TensorBoard, written at once and whole, without its writer's queue and thread.

Source: TensorBoard's event files, a sequence of `Event` records; a `SessionLog.START` with a step
hides what earlier files of the folder hold from that step on.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

from ngu.durable import append_whole

# protobuf makes these classes on import, where no type checker sees them
Event = event_pb2.Event  # pyright: ignore[reportAttributeAccessIssue]
SessionLog = event_pb2.SessionLog  # pyright: ignore[reportAttributeAccessIssue]
Summary = summary_pb2.Summary  # pyright: ignore[reportAttributeAccessIssue]


class EventFile:
    """One TensorBoard event file of a folder."""

    def __init__(self, folder: Path, purge_step: int | None = None) -> None:
        """Starts a new event file.

        Args:
            folder: Where the event files lie; it exists.
            purge_step: Hide what older files of the folder hold from this step on.

        Raises:
            OSError: The file cannot be written.
        """
        now = time.time()
        self.path = folder / f"events.out.tfevents.{now:020.6f}.{os.getpid()}"
        self._append(Event(wall_time=now, file_version="brain.Event:2"))
        if purge_step is not None:
            start = SessionLog(status=SessionLog.START)
            self._append(Event(wall_time=now, step=purge_step, session_log=start))

    def add(self, step: int, scalars: Mapping[str, float]) -> None:
        """Writes the values of one step.

        Args:
            step: The place on the horizontal axis.
            scalars: Values by name; names with a slash share a section in TensorBoard.

        Raises:
            OSError: They cannot be written; the file stays readable.
        """
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        self._append(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))

    def _append(self, event: Any) -> None:
        record = io.BytesIO()
        RecordWriter(record).write(event.SerializeToString())
        append_whole(self.path, record.getvalue())
