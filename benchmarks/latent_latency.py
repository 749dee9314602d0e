"""Times how soon the picture of `ngu.visualize` follows a slider, in headless Chromium.

    python benchmarks/latent_latency.py [VAE_OR_RUN] [--moves 50]

From the slider's event in the page to the new picture, decoded by the browser: the request, the
autoencoder and the page's own work are in it. After each move it waits until the film strip and the
nearest frames have followed too.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
from playwright.sync_api import sync_playwright

_MOVE = """async (value) => {
  const slider = document.querySelectorAll('.sliders input[type=range]')[1];
  const picture = document.querySelector('#picture');
  const before = picture.querySelector('img').src;
  const begun = performance.now();
  const shown = new Promise((resolve) => {
    const observer = new MutationObserver(async () => {
      const image = picture.querySelector('img');
      if (!image || image.src === before) return;
      observer.disconnect();
      await image.decode();
      resolve(performance.now() - begun);
    });
    observer.observe(picture, {subtree: true, childList: true, attributes: true});
  });
  slider.value = value;
  slider.dispatchEvent(new Event('input', {bubbles: true}));
  return await shown;
}"""


def main() -> None:
    """Print the median, the ninth decile and the machine's load."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("vae", nargs="*", help="as ngu.visualize takes it")
    parser.add_argument("--moves", type=int, default=50, help="of the slider (%(default)s)")
    known = parser.parse_args()
    command = [sys.executable, "-m", "ngu.visualize", *known.vae, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            lines = iter(server.stderr.readline, "")
            address = next(found[0] for line in lines if (found := re.search(r"http://\S+", line)))
            times = measure(address, known.moves)
        finally:
            server.send_signal(signal.SIGINT)
    low, middle, high = np.percentile(times, [10, 50, 90])
    print(
        f"{len(times)} moves: median {middle:.0f} ms (first decile {low:.0f}, ninth {high:.0f}); "
        f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )


def measure(address: str, moves: int) -> list[float]:
    """Milliseconds of each move, the first few aside."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(address)
        page.wait_for_selector("#nearest img")
        times = list[float]()
        for value in np.resize(np.linspace(-2, 2, 16), moves + 5):
            strip = page.get_attribute("#strip img", "src")
            times.append(page.evaluate(_MOVE, float(round(value, 2))))
            page.wait_for_function(
                "(before) => document.querySelector('#strip img').src !== before", arg=strip
            )
            page.wait_for_timeout(100)
        browser.close()
    return times[5:]


if __name__ == "__main__":
    main()
