"""Tests compute on one core: small tensors are faster so, above all beside other work."""

import logging

import pytest
import torch

from tests.browser import chromium, quiet_page
from tests.forked import Trainings
from tests.small_runs import DEEP_SEA

torch.set_num_threads(1)


@pytest.fixture
def run_command(tmp_path, monkeypatch, capsys):
    """Runs a command's ``main`` here, in an empty folder; returns exit code and what it wrote."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    monkeypatch.chdir(tmp_path)

    def run(main, *arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    yield run
    root.handlers[:], root.level = before


@pytest.fixture(scope="module")
def trainings():
    """Trainings in processes of their own, of the tests of a file."""
    trainings = Trainings()
    yield trainings
    trainings.close()


@pytest.fixture(scope="module")
def finished(trainings, tmp_path_factory):
    """A finished run of Never Give Up's agent on deep-sea; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("finished")
    words = [*DEEP_SEA, "--frames", 60, "--run-dir", folder / "run"]
    assert trainings.run(*words, output=folder / "output") == 0
    return folder / "run"


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium, one for the tests of a file."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser):
    """A page, 1280 x 800; an error on its console or a request to another host fails the test."""
    with quiet_page(browser) as page:
        yield page
