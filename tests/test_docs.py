"""The Python of the README and of the documentation's pages runs as it stands there."""

import multiprocessing
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = {
    path.relative_to(ROOT).as_posix(): re.findall(r"```python\n(.*?)```", path.read_text(), re.S)
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
}
WITH_CODE = [page for page, blocks in PAGES.items() if blocks]


def run(page: str) -> dict:
    """The names that a page's blocks leave, run in order in one namespace."""
    names = {}
    for block in PAGES[page]:
        exec(compile(block, page, "exec"), names)
    return names


def test_the_pages_with_code_are_those_that_promise_it():
    assert {"README.md", "docs/use/plain-loop.md", "docs/use/gymnasium.md"} < set(WITH_CODE)


@pytest.fixture
def _start_method_put_back():
    """Importing torchrl makes spawn the way of the whole process."""
    before = multiprocessing.get_start_method(allow_none=True)
    yield
    multiprocessing.set_start_method(before, force=True)


# TorchRL's own deprecations, and a warning of every transformed environment in a collector.
@pytest.mark.filterwarnings("ignore:Creating .* inherits from WeightUpdaterBase:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The env passed to Collector is missing:FutureWarning")
@pytest.mark.usefixtures("_start_method_put_back")
@pytest.mark.parametrize("page", WITH_CODE)
def test_a_page_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = run(page)
    if page == "README.md":
        assert capsys.readouterr().out == "repeats: 1.0 others: 0.0\n"
    for check in names.get("CHECKS", ()):
        if check.__name__ not in names["DO_NOT_APPLY"]:
            check(names["RoundedCount"])


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert ((ROOT / page).parent / target).exists(), target
