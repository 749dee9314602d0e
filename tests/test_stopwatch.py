import pytest

from ngu import stopwatch
from ngu.stopwatch import Stopwatch


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only where the test says so."""
    now = [100.0]
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: now[0])
    return now


def test_seconds_add_up_stage_by_stage(clock):
    watch = Stopwatch()
    for seconds, stage in ((1.5, "acting"), (4.0, "learning"), (0.25, "acting")):
        with watch(stage):
            clock[0] += seconds
        clock[0] += 10.0
    assert watch.seconds == {"acting": 1.75, "learning": 4.0}


def test_an_error_is_timed_and_passed_on(clock):
    watch = Stopwatch()

    def fail():
        with watch("acting"):
            clock[0] += 2.0
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert watch.seconds == {"acting": 2.0}


def test_reset_forgets(clock):
    watch = Stopwatch()
    with watch("acting"):
        clock[0] += 2.0
    watch.reset()
    assert watch.seconds == {}
    with watch("acting"):
        clock[0] += 3.0
    assert watch.seconds == {"acting": 3.0}
