"""The command that tells what an embedding holds: ``python -m ngu.analyze RUN_OR_FILE``.

Measures everything, and writes one page to look at, the numbers as JSON, and a folder for
TensorBoard's projector.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from ngu import record
from ngu.analysis import EmbeddingData, load
from ngu.analysis.report.assemble import assemble
from ngu.analysis.report.measures import STAGES, measure
from ngu.analysis.report.states import look_at
from ngu.analysis.report.thumbnails import Thumbnails
from ngu.analysis.report.write import places, write_report
from ngu.command import exit_code_of
from ngu.console import log_to_console
from ngu.sentences import SettingsError, at_least

logger = logging.getLogger("ngu")

LIMIT = 50_000
"""States that are used unless another number is asked for."""

RECORDED = 20_000
"""States that are recorded of a run that has none."""

_NEEDED = ("constriction", "PIL", "plotly", "pyarrow", "scipy", "sklearn")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code, 2 for what the user has to mend."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    console = log_to_console()
    known = _parser().parse_args(arguments)
    return exit_code_of(lambda: _analyze(known, console), stopped="stopped; nothing was written")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ngu.analyze",
        description="Tell what an embedding holds: how many dimensions, how many bits and how many "
        "of them redundant, what it knows, why a state counted as new. Writes a page to look at, "
        "the numbers beside it as JSON, and a folder for TensorBoard's projector.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "source",
        type=Path,
        metavar="RUN_OR_FILE",
        help="a dataset that ngu.record wrote, the folder of a run, or a .npy, .npz or .parquet "
        "file of embeddings [N, D]",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("report.html"),
        metavar="FILE",
        help="the page (%(default)s); its .json and its -projector folder stand beside it. What is "
        "there of an earlier report is replaced",
    )
    parser.add_argument(
        "--compare",
        type=Path,
        metavar="OTHER",
        help="a second run or file, beside the first in the same report, with the differences",
    )
    parser.add_argument(
        "--limit",
        type=at_least(2),
        default=LIMIT,
        metavar="N",
        help="states used at most; of more, whole episodes are drawn (%(default)s)",
    )
    parser.add_argument(
        "--seed", type=at_least(0), default=0, help="of all that is drawn (%(default)s)"
    )
    return parser


def _analyze(known: argparse.Namespace, console: Console) -> int:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise SettingsError(
            f"the analysis needs the package{'s' * (len(missing) > 1)} {', '.join(missing)}: "
            'pip install "never-give-up[analysis]"'
        )
    where = places(known.out)
    sources = [known.source] + ([known.compare] if known.compare is not None else [])
    for source in sources:
        code = _record(source, min(known.limit, RECORDED))
        if code != 0:
            return code
    with _Progress(len(sources), console) as progress:
        loaded = [_load(source, known, progress) for source in sources]
        pictures = Thumbnails(len(sources))
        reports = []
        for data in loaded:
            measures = measure(data, known.seed, progress.tell)
            progress.tell("map of the states")
            reports.append(assemble(data, measures, look_at(data, pictures, known.seed)))
        progress.tell("files")
        write_report(where, reports, pictures.pictures, known.seed)
    for report in reports:
        for sentence in report.verdict:
            logger.info("%s", sentence)
    logger.info("written: %s, %s, %s", *where)
    return 0


def _record(source: Path, steps: int) -> int:
    """Record states of a run that has none; returns the exit code of that."""
    if not (source / "config.yaml").is_file() or (source / "states").exists():
        return 0
    logger.info("%s has no recorded states: %s are recorded first", source, f"{steps:,}")
    return record.main([str(source), "--steps", str(steps)])


def _load(source: Path, known: argparse.Namespace, progress: _Progress) -> EmbeddingData:
    progress.tell(f"reading {source.name}")
    return load(source, limit=known.limit, seed=known.seed)


class _Progress:
    """A progress bar on a terminal, a log line for each stage elsewhere."""

    def __init__(self, sources: int, console: Console) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        total = sources * (len(STAGES) + 2) + 1
        self._task = self._bar.add_task("", total=total)
        self._before = -1

    def __enter__(self) -> _Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def tell(self, stage: str, share: float = 0.0) -> None:
        """A stage begins, or so much of it is done."""
        if share == 0:
            self._before += 1
            if self._bar.disable:
                logger.info("%s", stage)
        self._bar.update(self._task, description=stage, completed=self._before + share)


if __name__ == "__main__":
    sys.exit(main())
