"""The command from a file to a report, what it refuses, and the page in a browser."""

import importlib.util
import json
import re
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ngu.analysis.coding import redundancy
from ngu.analysis.coding.learning import LearningConfig
from ngu.analysis.probes import probe
from ngu.analysis.report import measures
from ngu.analyze import main

REQUIRED = (
    "effective_rank", "intrinsic_dimension", "total_correlation_bits", "redundancy",
    "bits_per_state",
)  # fmt: skip
EVIL = '<script>document.title="stolen"</script>'


def embeddings(states=400, dim=4, seed=0):
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(states, 2))
    return (
        np.tanh(hidden @ rng.normal(size=(2, dim))) + 0.1 * rng.normal(size=(states, dim))
    ).astype(np.float32)


def write(path, seed=0, states=400, **more):
    values = embeddings(states, seed=seed)
    room = (values[:, 0] > 0).astype(np.int64)
    episode = np.arange(len(values)) // 25
    np.savez(path, embeddings=values, episode=episode, room=room, **more)
    return path


@pytest.fixture(scope="module", autouse=True)
def _trained_shortly():
    """What is trained is so for a few updates: here it is to end, not to be good."""
    learning = LearningConfig(context=10, transform=5, adapted=5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measures, "redundancy", partial(redundancy, learning_config=learning))
        patch.setattr(measures, "probe", partial(probe, updates=60))
        yield


@pytest.fixture
def command(run_command):
    """Runs the command in an empty folder; returns its exit code and what it wrote."""
    return partial(run_command, main)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A folder with the report of one file that means harm, and that of two compared."""
    folder = tmp_path_factory.mktemp("report")
    one = write(folder / "one.npz", **{EVIL: np.arange(400) % 5})
    two = write(folder / "two.npz", seed=1, std=np.full((400, 4), 0.5))
    assert main([str(one), "--out", str(folder / "report.html")]) == 0
    assert main([str(one), "--compare", str(two), "--out", str(folder / "both.html")]) == 0
    return folder


def test_every_number_has_its_interval_or_a_reason(report):
    found = json.loads((report / "report.json").read_text())
    assert found["rows_used"] == found["rows"] == 400
    assert found["dimensions"] == 4
    assert "over 16 episodes" in found["intervals"]
    numbers = {
        key: value for key, value in found.items() if isinstance(value, dict) and "value" in value
    }
    assert set(REQUIRED) <= numbers.keys()
    for key, number in numbers.items():
        assert {"value", "low", "high", "unit", "meaning"} <= number.keys(), key
        if number["value"] is None:
            assert number["reason"], key
        elif number["low"] is not None:
            assert number["low"] <= number["value"] <= number["high"], key
    assert 1.5 < found["effective_rank"]["value"] < 4
    assert len(found["measures"]["spectrum"]["eigenvalues"]) == 4
    assert found["versions"]["numpy"] == np.__version__


def test_two_are_compared(report):
    found = json.loads((report / "both.json").read_text())
    for key in ("effective_rank", "total_correlation_bits"):
        first, second = found[key]["value"], found["compared"][key]["value"]
        difference = found["difference"][key]
        assert difference["value"] == pytest.approx(second - first)
        assert difference["low"] < difference["value"] < difference["high"]
    assert "active_units" not in found
    posteriors = found["compared"]
    assert posteriors["active_units"]["value"] == 4
    means = embeddings(seed=1).astype(float)
    nats = (means**2 + 0.25 - np.log(0.25) - 1).sum(1) / 2
    assert posteriors["divergence_bits"]["value"] == pytest.approx(nats.mean() / np.log(2))
    page = (report / "both.html").read_text()
    assert "Divergence of the posteriors from the prior" in page
    assert page.count('class="panels two"') > 4
    assert "Both numbers, and the difference" in page
    sides = (report / "both-projector" / "projector_config.pbtxt").read_text()
    assert sides.count("tensor_path") == 2


def test_the_page_loads_nothing_and_runs_no_label(report):
    page = (report / "report.html").read_text()
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", page, re.S)
    assert len(scripts) == 3
    own = page
    for script in scripts:
        own = own.replace(script, "")
    assert "http://" not in own
    assert "https://" not in own
    assert not re.search(r"(src|href|srcset)\s*=\s*[\"'](?!#)", own)
    assert "@import" not in own
    assert "url(" not in own
    assert EVIL not in page
    assert "default-src 'none'" in page
    data = json.loads(scripts[0])
    assert EVIL in [column["name"] for column in data["states"][0]["columns"]]


def test_an_earlier_report_is_replaced_and_stopping_leaves_it(command, tmp_path, monkeypatch):
    source = write(tmp_path / "one.npz", states=40)
    code, _ = command(source)
    assert code == 0
    left = {"one.npz", "report.html", "report.json", "report-projector"}
    assert {path.name for path in tmp_path.iterdir()} == left
    before = (tmp_path / "report.json").read_bytes()
    code, said = command(source, "--seed", 1)
    assert code == 0
    assert "written: report.html, report.json, report-projector" in said
    after = (tmp_path / "report.json").read_bytes()
    assert after != before

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("ngu.analysis.report.write.write_projector", stop)
    code, said = command(source, "--seed", 2)
    assert code == 130
    assert "nothing was written" in said
    assert (tmp_path / "report.json").read_bytes() == after
    assert {path.name for path in tmp_path.iterdir()} == left


def test_the_same_seed_gives_the_same_numbers(command, report, tmp_path):
    assert command(report / "one.npz")[0] == 0
    assert (tmp_path / "report.json").read_bytes() == (report / "report.json").read_bytes()


def test_a_limit_draws_whole_episodes(command, tmp_path):
    assert command(write(tmp_path / "one.npz", states=90), "--limit", 60)[0] == 0
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["rows"] == 90
    assert found["rows_used"] <= 60
    assert "episodes" in found["sampling"]


def test_a_run_without_states_is_recorded_first(command, tmp_path, monkeypatch):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("env: DeepSea-v0")
    asked = []

    def record(arguments):
        asked.append(arguments)
        rows = pa.table({"embedding": list(embeddings(60)), "episode": np.arange(60) // 20})
        (run / "states").mkdir()
        pq.write_table(rows, run / "states" / "part-000000.parquet")
        return 0

    monkeypatch.setattr("ngu.record.main", record)
    for _ in range(2):
        assert command(run, "--limit", 500)[0] == 0
        assert json.loads((tmp_path / "report.json").read_text())["rows"] == 60
    assert asked == [[str(run), "--steps", "500"]]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.yaml").write_text("env: DeepSea-v0")
    monkeypatch.setattr("ngu.record.main", lambda _: 2)
    assert command(tmp_path / "other", "--out", "other.html")[0] == 2
    assert not (tmp_path / "other.html").exists()


def _pickled(path):
    np.save(path, np.array([{"a": 1}] * 3, dtype=object), allow_pickle=True)


BAD = {
    "there is no file": lambda path: None,
    "is empty": lambda path: path.write_bytes(b""),
    "one row": lambda path: np.save(path, np.zeros((1, 4), np.float32)),
    "NaN or infinity": lambda path: np.save(path, np.full((50, 3), np.nan, np.float32)),
    "shape [N, D]": lambda path: np.save(path, np.zeros(50, np.float32)),
    "real numbers": lambda path: np.save(path, np.array([["a", "b"]] * 5)),
    "Python objects": _pickled,
    "cut off or damaged": lambda path: path.write_bytes(_half()),
}


def _half():
    import io

    file = io.BytesIO()
    np.save(file, embeddings())
    return file.getvalue()[:2000]


@pytest.mark.parametrize("complaint", BAD)
def test_bad_input_gets_a_sentence(command, tmp_path, complaint):
    path = tmp_path / "bad.npy"
    BAD[complaint](path)
    code, said = command(path)
    assert code == 2
    assert complaint in said
    assert "Traceback" not in said
    assert not (tmp_path / "report.html").exists()


def test_labels_of_another_length(command, tmp_path):
    np.savez(tmp_path / "bad.npz", embeddings=embeddings(), room=np.arange(7))
    code, said = command(tmp_path / "bad.npz")
    assert code == 2
    assert "room" in said


@pytest.mark.parametrize(
    ("out", "complaint"),
    [("report.pdf", "ends in .html"), ("nowhere/report.html", "no folder nowhere"),
     ("taken.html", "is a folder")],
)  # fmt: skip
def test_where_no_report_can_be_written(command, tmp_path, out, complaint):
    (tmp_path / "taken.html").mkdir()
    code, said = command(write(tmp_path / "one.npz"), "--out", out)
    assert code == 2
    assert complaint in said


@pytest.mark.parametrize("kind", ["constant", "few", "one_dimension"])
def test_what_cannot_be_measured_says_why(command, tmp_path, kind):
    values = {
        "constant": np.ones((300, 4), np.float32),
        "few": embeddings(states=3, dim=8),
        "one_dimension": embeddings(dim=1),
    }[kind]
    np.save(tmp_path / "odd.npy", values)
    code, said = command(tmp_path / "odd.npy")
    assert code == 0, said
    found = json.loads((tmp_path / "report.json").read_text())
    missing = [found[key] for key in REQUIRED if found[key]["value"] is None]
    assert missing
    assert all(number["reason"] for number in missing)
    assert "not measured, because" in (tmp_path / "report.html").read_text()


def test_a_missing_package_is_named(command, tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "sklearn" else found(name)
    )
    code, said = command(write(tmp_path / "one.npz"))
    assert code == 2
    assert 'needs the package sklearn: pip install "never-give-up[analysis]"' in said


def test_the_page_in_a_browser(report, page):
    page.goto((report / "report.html").as_uri())
    page.wait_for_selector("html[data-drawn]")
    assert page.title() == f"{report.name}/one.npz"
    drawn = page.locator(".figure .main-svg").count()
    assert drawn >= page.locator(".figure").count() > 2
    for box in page.locator(".figure").all():
        assert box.locator("path, image").count() > 3
    sentence = page.locator("#why-0 [data-part=sentence]")
    newest = sentence.text_content()
    assert "newer than 100 % of the states shown" in newest
    page.locator("#why-0 [data-part=slider]").focus()
    page.keyboard.press("Home")
    assert "nothing to compare it with" in sentence.text_content()
    page.locator("#why-0 [data-part=newest]").click()
    assert sentence.text_content() == newest
    assert page.locator("#why-0 .card dl").filter(has_text="kernel").count() == 10
    before = page.locator("#map-0 .legend").text_content()
    page.locator("#map-0 select").select_option(label=EVIL)
    assert EVIL in page.locator("#map-0 .legend").text_content() != before
    for plane in page.locator("#map-0 button").all():
        plane.click()
    points = page.locator("#map-0 .points path")
    points.nth(20).hover(force=True)
    points.nth(20).click(force=True)
    assert sentence.text_content() != newest
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    page.set_viewport_size({"width": 400, "height": 800})
    for _ in range(100):  # figures follow the window a little later
        if (width := page.evaluate("document.documentElement.scrollWidth")) <= 400:
            break
        page.wait_for_timeout(50)
    assert width <= 400


def test_two_in_a_browser(report, page):
    page.goto((report / "both.html").as_uri())
    page.wait_for_selector("html[data-drawn]")
    assert page.locator("#why-1 .card dl").filter(has_text="kernel").count() == 10
    assert page.locator("#comparison tbody tr").count() > 5
