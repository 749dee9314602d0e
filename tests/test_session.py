"""A run put together: what its log points tell of a game with rooms."""

from ngu.parsing import parse
from ngu.session import Session


def test_rooms_are_counted_over_training_and_for_each_episode():
    arguments = ["--env=MontezumaRevenge", "--agent=random", "--num-envs=2", "--frames=100"]
    settings, _, _ = parse(arguments, "test")
    session = Session(settings)
    session.begin()
    ended = 0
    for progress in session:
        ended += int(progress.step.done.sum())
        if ended == 3:
            break
    figures = session.collect()
    session.close()
    assert figures["episodes"] == 3
    assert figures["rooms"] == 1
    assert figures["rooms_per_episode"] == 1.0
    assert session.frames == 4 * figures["steps"]
