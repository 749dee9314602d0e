"""The command to play with a latent: ``python -m ngu.visualize [VAE_OR_RUN]``."""

from __future__ import annotations

import argparse
import importlib.util
import logging
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from ngu.analysis.latents import dimensions, see
from ngu.analysis.recorded_pictures import pictures_beside, pictures_of_dataset
from ngu.autoencoders import load_vae
from ngu.command import exit_code_of
from ngu.console import log_to_console
from ngu.seeding import Seeds
from ngu.sentences import SettingsError
from ngu.world.convolutions import picture_shape
from ngu.world.vae import ConvVAE

logger = logging.getLogger("ngu")

SHIPPED = Path(__file__).parent / "analysis" / "car_racing"
"""The autoencoder that comes with the library, of CarRacing, and frames that it was not shown."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code, 2 for what the user has to mend, 130 after Ctrl-C."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    log_to_console()
    known = _parser().parse_args(arguments)
    return exit_code_of(lambda: _visualize(known))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ngu.visualize",
        description="Open a page with a slider for each number that an autoencoder sees a picture "
        "in, and the picture that it draws from them. The page is served to this machine alone.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "vae",
        type=Path,
        nargs="?",
        default=SHIPPED,
        metavar="VAE_OR_RUN",
        help="a vae.safetensors, or the folder of a run of ngu.train_vae or of the world-models "
        "agent (without it, one of CarRacing that comes with ngu)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DATASET",
        help="a dataset of ngu.record, whose frames and labels are shown in place of the pictures "
        "beside the autoencoder",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to serve at (%(default)s)")
    parser.add_argument(
        "--port", type=int, default=7860, help="port to serve at, 0 for a free one (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn (%(default)s)")
    return parser


def _visualize(known: argparse.Namespace) -> int:
    if importlib.util.find_spec("gradio") is None:
        raise SettingsError('the page needs the package gradio: pip install "never-give-up[ui]"')
    if not 0 <= known.port <= 65535:
        raise SettingsError(f"--port must be between 0 and 65535, got {known.port}")
    if known.seed < 0:
        raise SettingsError(f"--seed must be at least 0, got {known.seed}")
    port = _free_port(known.host, known.port)
    vae, file = load_vae(known.vae)
    if known.data is None:
        recorded = pictures_beside(file, vae.observation_shape)
    else:
        recorded = pictures_of_dataset(known.data, vae.observation_shape)
    if not len(recorded.pictures):
        logger.info("there are no recorded frames beside %s; --data names some", file)
    seen = see(vae, recorded.pictures)
    told = dimensions(vae, seen, recorded.known)

    from ngu.analysis.latent_page import build, serve
    from ngu.analysis.latent_views import LatentViews

    about = _about(known.vae, vae, len(recorded.pictures))
    generator = Seeds(known.seed).numpy("latents to play with")
    page = build(LatentViews(vae, seen, told, generator=generator), about)
    address = serve(page, known.host, port)
    logger.info("play at %s (Ctrl-C ends)", address)
    try:
        threading.Event().wait()
    finally:
        page.close(verbose=False)
    return 0


def _about(name: Path, vae: ConvVAE, frames: int) -> str:
    """What the page shows, in Markdown."""
    shape = picture_shape(vae.observation_shape)
    comes = name == SHIPPED
    which = "The autoencoder of CarRacing that comes with ngu" if comes else f"`{name}`"
    order = "how far they move a pixel, as there are no recorded frames"
    if frames:
        order = (
            f"how much they tell of a picture (nats, over {frames:,} recorded frames), "
            "each with what it goes with most (rank correlation)"
        )
    return (
        f"{which} sees a picture of {shape.height} x {shape.width} pixels as "
        f"{vae.config.latent_dim} numbers, and draws it from them alone. Move one and see what it "
        f"stands for. They are sorted by {order}."
    )


def _free_port(host: str, port: int) -> int:
    """The port, or a free one in place of 0.

    Raises:
        SettingsError: it is taken, or the host is none of this machine's addresses.
    """
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind((host, port))
        except OSError as error:
            raise SettingsError(
                f"the page cannot be served at {host}:{port}: {error.strerror}; --port takes "
                "another port, 0 any that is free"
            ) from error
        return taken.getsockname()[1]


if __name__ == "__main__":
    sys.exit(main())
