"""The command to play with a latent, used in a browser as a person would."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import torch

from ngu.checkpoint import load_tree, save_tree
from ngu.visualize import SHIPPED, main
from ngu.world.vae import ConvVAE, VAEConfig


@contextmanager
def served(folder, *words):
    """The command in a process of its own until Ctrl-C; yields the page's address."""
    start = [sys.executable, "-m", "ngu.visualize", *map(str, words), "--port", "0"]
    with subprocess.Popen(
        start,
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as process:
        try:
            said = ""
            while "play at" not in said:
                line = process.stderr.readline()
                assert line, said
                said += line
            yield re.search(r"http://\S+", said)[0]
        finally:
            process.send_signal(signal.SIGINT)
            said += process.communicate()[0] or ""
    assert process.returncode == 130, said


class Shown:
    """A picture of the page, and whether it has become another one."""

    def __init__(self, page, name):
        self._page, self._selector = page, f"#{name} img"
        self.source = page.get_attribute(self._selector, "src")

    def changes(self):
        self._page.wait_for_function(
            "([selector, before]) => (document.querySelector(selector)?.src ?? before) !== before",
            arg=[self._selector, self.source],
        )
        self.source = self._page.get_attribute(self._selector, "src")
        return True


def test_the_page(page, tmp_path):
    with served(tmp_path) as address:
        page.goto(address)
        page.wait_for_selector("#nearest img")
        picture, beginning, strip, nearest = (
            Shown(page, name) for name in ("picture", "beginning", "strip", "nearest")
        )
        sliders = page.locator(".sliders input[type=range]")
        sliders.nth(15).wait_for()
        assert sliders.count() == 16
        value = float(sliders.nth(1).input_value())
        sliders.nth(1).fill("2.5" if value < 0 else "-2.5")
        assert picture.changes()
        assert strip.changes()
        assert nearest.changes()

        page.locator("#nearest button").nth(3).click()
        assert beginning.changes()
        assert picture.changes()
        assert nearest.changes()
        assert beginning.source == nearest.source  # it is its own nearest
        assert float(page.inner_text("#nearest small >> nth=0")) < 0.05

        page.get_by_role("tab", name="Between two").click()
        page.locator("#first button").nth(2).click()
        assert beginning.changes()
        page.get_by_label("from the first to the second").last.fill("0.5")
        assert picture.changes()
        assert page.locator("#last .chosen").count() == 1

        page.get_by_role("tab", name="From the prior").click()
        page.get_by_role("button", name="Draw one").click()
        assert picture.changes()
        page.locator("#beginning small", has_text="no frame").wait_for()
        assert strip.changes()

        page.get_by_label("swept").click()
        page.get_by_role("option").nth(5).click()
        assert strip.changes()

        page.set_viewport_size({"width": 400, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        # No file of the user's is handed out, and none is taken.
        private = tmp_path / "private.txt"
        private.write_text("a secret")
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"{address}gradio_api/file={private}")


@pytest.fixture
def command(run_command):
    """Runs the command in an empty folder; returns its exit code and what it wrote."""
    return partial(run_command, main)


def test_the_shipped_autoencoder_is_small_and_sees_well():
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 5e6
    vae = ConvVAE.load(SHIPPED / "vae.safetensors")
    pictures = torch.from_numpy(load_tree(SHIPPED / "pictures.safetensors")["pictures"])
    with torch.no_grad():
        decoded = vae.decode(vae.encode(pictures).mean)
    error = ((decoded.float() - pictures.float()) / 255).square().mean()
    spread = (pictures.float() / 255 - pictures.float().mean(0) / 255).square().mean()
    assert error < 0.3 * spread


def vae_of(shape, **config):
    return ConvVAE(shape, VAEConfig(latent_dim=2, filters=1, **config))


@pytest.fixture
def _files(tmp_path):
    """What is no autoencoder, or does not fit one."""
    (tmp_path / "text").write_text("no tensors")
    save_tree(tmp_path / "other.safetensors", {"steps": 3})
    save_tree(tmp_path / "list.safetensors", [1, 2])
    vae_of((16, 16, 3)).save(tmp_path / "vae.safetensors")
    vae_of((16, 20, 3)).save(tmp_path / "wide.safetensors")
    state = load_tree(tmp_path / "vae.safetensors")
    save_tree(tmp_path / "newer.safetensors", state | {"config": state["config"] | {"depth": 3}})
    state["weights"].popitem()
    save_tree(tmp_path / "older.safetensors", state)
    for run, pictures in (("sizes", np.zeros((2, 16, 17, 3), np.uint8)), ("kinds", np.zeros(3))):
        (tmp_path / run).mkdir()
        vae_of((16, 16, 3)).save(tmp_path / run / "vae.safetensors")
        save_tree(tmp_path / run / "pictures.safetensors", {"pictures": pictures})
    (tmp_path / "run").mkdir()


@pytest.mark.usefixtures("_files")
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nowhere"], "there is no file or folder nowhere"),
        (
            ["run"],
            "run holds no vae.safetensors, which a run of ngu.train_vae has when it is done, "
            "and is no run of the world-models agent",
        ),
        (["text"], "text: truncated, or no checkpoint (10 bytes)"),
        (["other.safetensors"], "other.safetensors holds no autoencoder: its keys are ['steps']"),
        (["list.safetensors"], "list.safetensors holds no autoencoder"),
        (["newer.safetensors"], "newer.safetensors holds an autoencoder of another version"),
        (["older.safetensors"], "older.safetensors holds an autoencoder of another version"),
        (["sizes"], "must hold pictures [16, 16, 3], as the autoencoder sees, got [16, 17, 3]"),
        (["kinds"], "holds no pictures"),
        (["vae.safetensors", "--data", "gone"], "there is no file or folder gone"),
        (["--port", 70_000], "--port must be between 0 and 65535, got 70000"),
        (["--seed", -1], "--seed must be at least 0, got -1"),
    ],
)
def test_what_the_user_has_to_mend(command, words, sentence):
    code, said = command(*words)
    assert code == 2
    assert sentence in said


def test_a_port_that_is_taken(command):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, said = command("--port", port)
    assert code == 2
    assert f"the page cannot be served at 127.0.0.1:{port}: Address already in use" in said


def test_without_gradio(command, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, said = command()
    assert code == 2
    assert 'the page needs the package gradio: pip install "never-give-up[ui]"' in said
