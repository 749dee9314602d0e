"""The command that trains an autoencoder: ``python -m ngu.train_vae --env CarRacing-v3``."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path

import gymnasium
import numpy as np
from jaxtyping import UInt8
from rich.console import Console

from ngu.bar import Bar
from ngu.checkpoint import load_tree, save_tree
from ngu.command import exit_code_of
from ngu.console import log_to_console
from ngu.frames import collect, read_pictures
from ngu.run_folder import RunFolder, default_run_path
from ngu.seeding import Seeds
from ngu.sentences import EarlyParser, SettingsError, reason
from ngu.settings import resolve_device
from ngu.training import Stop
from ngu.vae_pictures import check_sheets, write_sheets
from ngu.vae_settings import VAESettings, parse_vae
from ngu.world.convolutions import picture_shape
from ngu.world.vae import ConvVAE
from ngu.world.vae_training import VAETraining
from ngu_envs import make

logger = logging.getLogger("ngu")

_LOGGED_EVERY = 50  # updates


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code.

    0 when training is done, 130 or 143 when a signal stopped it, or what
    :func:`ngu.command.exit_code_of` says.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    console = log_to_console()
    return exit_code_of(
        lambda: _run(arguments, console), stopped="stopped before training began", resumes=True
    )


def _run(arguments: list[str], console: Console) -> int:
    known, rest = EarlyParser("resume").parse_known_args(arguments)
    if known.resume is None:
        settings, text = parse_vae(rest)
        named = settings.env or Path(str(settings.data)).stem
        path = settings.run_dir or default_run_path(named, "vae", settings.seed, "runs")
        resolve_device(settings.device)
        _check(settings)
        folder = RunFolder.create(path, config=text, seed=settings.seed)
    else:
        folder = RunFolder.open(known.resume)
        if rest:
            raise SettingsError(f"a run goes on with its own settings, got {' '.join(rest)}")
        try:
            settings, _ = parse_vae([], base=folder.path / "config.yaml")
        except SettingsError as error:
            raise SettingsError(f"{folder.path} is no run of train_vae: {error}") from error
    folder.checkpoints.keep = settings.checkpoint.keep
    logger.info("run folder: %s", folder.path)
    with folder.held(), Stop() as stop:
        pictures = _pictures(settings, folder, stop, console)
        if pictures is not None:
            _train(settings, folder, pictures, stop, console)
    if stop.signal is not None:
        logger.info("stopped; go on with: python -m ngu.train_vae --resume %s", folder.path)
        return 128 + stop.signal
    return 0


def _check(settings: VAESettings) -> None:
    """See that there are pictures that fit, before anything is written.

    Raises:
        SettingsError: there are none; says why.
    """
    check_sheets()
    try:
        if settings.env is not None:
            pictures = next(_collected(settings, 1, settings.seed))
            count = settings.frames
        else:
            pictures = read_pictures(Path(str(settings.data)), settings.frames, settings.size)
            count = len(pictures)
        picture_shape(pictures.shape[1:])
        settings.training.held_out(count)
    except (ValueError, TypeError, ImportError, gymnasium.error.Error) as error:
        raise SettingsError(reason(error)) from error


def _collected(
    settings: VAESettings, num_envs: int, seed: int
) -> Generator[UInt8[np.ndarray, "E ..."]]:
    envs = make(str(settings.env), num_envs, seed, **settings.options)
    try:
        yield from collect(envs, size=settings.size, seed=seed)
    finally:
        envs.close()


def _pictures(
    settings: VAESettings, folder: RunFolder, stop: Stop, console: Console
) -> UInt8[np.ndarray, "N ..."] | None:
    """The pictures to train on, in the run's folder from then on; None where it was stopped."""
    path = folder.path / "pictures.safetensors"
    parts: list[np.ndarray] = [load_tree(path)["pictures"]] if path.exists() else []
    done = sum(map(len, parts))
    if settings.data is not None and not parts:
        parts = [read_pictures(Path(settings.data), settings.frames, settings.size)]
        save_tree(path, {"pictures": parts[0]})
    elif settings.env is not None and done < settings.frames:
        # Where it was stopped before, other episodes begin.
        seed = Seeds(settings.seed).integer(f"episodes from picture {done}")
        with (
            Bar("collecting", settings.frames, done, console) as bar,
            closing(_collected(settings, settings.num_envs, seed)) as collected,
        ):
            try:
                for shown in collected:
                    parts.append(shown[: settings.frames - done])
                    done += len(parts[-1])
                    bar.show(done)
                    if done == settings.frames or stop.signal is not None:
                        break
            finally:  # what was collected is kept, whatever ended it
                parts = [np.concatenate(parts)] if parts else []
                if parts:
                    save_tree(path, {"pictures": parts[0]})
    return None if stop.signal is not None else parts[0]


def _train(
    settings: VAESettings,
    folder: RunFolder,
    pictures: UInt8[np.ndarray, "N ..."],
    stop: Stop,
    console: Console,
) -> None:
    vae = ConvVAE(
        pictures.shape[1:], settings.vae, generator=Seeds(settings.seed).torch("autoencoder")
    )
    training = VAETraining(
        vae,
        pictures,
        settings.training,
        seed=settings.seed,
        device=resolve_device(settings.device),
        precision=settings.precision,
    )
    seconds = 0.0
    if folder.checkpoints.paths():
        path, state = folder.checkpoints.latest()
        training.load_state_dict(state["training"])
        seconds = state["seconds"]
        logger.info("going on from %s", path)
    folder.resume(training.updates)
    saved = begun = time.monotonic()
    size, total = settings.training.batch_size, training.total_updates

    with Bar("training", total, training.updates, console) as bar:
        for metrics in training:
            bar.show(training.updates, size, **metrics)
            if training.updates % _LOGGED_EVERY == 0 or training.updates == total:
                frames = training.updates * size
                folder.log({"frames": frames, "steps": training.updates, **metrics})
            if time.monotonic() - saved > settings.checkpoint.seconds:
                saved = time.monotonic()
                _save(folder, training, seconds + saved - begun)
            if stop.signal is not None:
                break
    seconds += time.monotonic() - begun
    _save(folder, training, seconds)
    if training.updates == total:
        _finish(settings, folder, training, total * size / seconds)


def _save(folder: RunFolder, training: VAETraining, seconds: float) -> None:
    """Write a checkpoint; where the disk is full the last one stays and training goes on."""
    try:
        state = {"training": training.state_dict(), "seconds": seconds}
        folder.checkpoints.save(training.updates, state)
    except OSError as error:
        logger.error("no checkpoint was written: %s", error)


def _finish(settings: VAESettings, folder: RunFolder, training: VAETraining, rate: float) -> None:
    """Evaluate on what was held out, and write what training came to."""
    report = training.evaluate()
    training.vae.save(folder.path / "vae.safetensors")
    write_sheets(training.vae, training.held_out, report.kl, folder.path, seed=settings.seed)
    folder.finish({**report._asdict(), "kl": report.kl.tolist(), "pictures_per_second": rate})
    logger.info(
        "on %s pictures held out: squared error %.2f, KL %.1f nats, %d of %d latent dimensions "
        "active, evidence %.1f nats, %.2f bits per number",
        f"{len(training.held_out):,}",
        report.squared_error,
        report.kl.sum(),
        report.active_units,
        len(report.kl),
        report.evidence,
        report.bits_per_dimension,
    )
    logger.info("done at %s pictures/s: see %s", f"{rate:,.0f}", folder.path)


if __name__ == "__main__":
    sys.exit(main())
