"""The files of a report: all of them in their place at the end, or what was there before."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ngu.analysis.report.assemble import Report
from ngu.analysis.report.page import write_page
from ngu.analysis.report.projector import check_folder, replacing_folder, write_projector
from ngu.analysis.report.record import record, versions
from ngu.durable import replacing
from ngu.sentences import SettingsError


class Places(NamedTuple):
    """Where a report is written."""

    page: Path
    """The HTML file."""
    numbers: Path
    """The JSON file beside it."""
    projector: Path
    """The folder for TensorBoard beside it."""


def places(out: Path) -> Places:
    """Where a report's files go, seen to be free for it.

    Args:
        out: of the page; it ends in ``.html``.

    Raises:
        SettingsError: it does not.
        OSError: something else is in the way, or there is no such folder.
    """
    if out.suffix.lower() not in (".html", ".htm"):
        raise SettingsError(f"the report must be a file that ends in .html, got {out}")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {out.parent} to write the report into")
    result = Places(out, out.with_suffix(".json"), out.with_name(f"{out.stem}-projector"))
    for path in result[:2]:
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder, expected a file to write or to replace")
    check_folder(result.projector)
    return result


def write_report(
    where: Places, reports: Sequence[Report], pictures: Sequence[str], seed: int
) -> None:
    """Write page, numbers and projector folder.

    Args:
        where: as `places` found it.
        reports: one or two.
        pictures: data URIs of their states.
        seed: of all that was drawn.

    Raises:
        OSError: they cannot be written; what was there stays.
    """
    text = json.dumps(record(reports, seed), indent=1, allow_nan=False)
    now = datetime.datetime.now().strftime("%d %B %Y, %H:%M")
    used = ", ".join(f"{name} {version}" for name, version in versions().items() if version)
    page = write_page(reports, pictures, f"Made on {now} with seed {seed} by {used}.")
    with (
        replacing_folder(where.projector) as folder,
        replacing(where.numbers) as numbers,
        replacing(where.page) as file,
    ):
        named = [(report.name, report.data) for report in reports]
        write_projector(folder, named, np.random.Generator(np.random.PCG64(seed)))
        numbers.write(text.encode() + b"\n")
        file.write(page.encode())
