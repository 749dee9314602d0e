"""Probes on embeddings of which it is known what they hold."""

import numpy as np
import pytest

from ngu.analysis.estimate import NotMeasured
from ngu.analysis.probe_training import whitened
from ngu.analysis.probes import ProbeResult, probe, split_episodes, weighted_f1

EPISODES = np.repeat(np.arange(40), 60)
N = len(EPISODES)


def states(seed=0):
    """A room, a place in it and a coin, int64 [N] each."""
    generator = np.random.default_rng(seed)
    return {
        "room": generator.integers(5, size=N),
        "x": generator.integers(12, size=N),
        "coin": generator.integers(2, size=N),
    }


def one_hot(values):
    return np.eye(values.max() + 1, dtype=np.float32)[values]


def mixed(columns, dim, seed=1):
    """Columns in another basis and other units, far from the origin, float32 [N, dim]."""
    matrix = np.random.default_rng(seed).standard_normal((columns.shape[1], dim))
    return (columns @ matrix * 50 + 300).astype(np.float32)


def test_a_linear_probe_finds_what_is_linear_and_nothing_else():
    known = states()
    embeddings = mixed(np.concatenate([one_hot(known["room"]), known["x"][:, None] / 12], -1), 9)
    results = probe(embeddings, known, EPISODES, updates=200)
    assert list(results) == ["room", "x", "coin"]
    room, x, coin = results.values()
    assert room.f1.value > 0.99
    assert room.classes == 5
    assert x.r2.value > 0.99
    assert coin.f1.value == pytest.approx(0.5, abs=0.1)
    assert coin.f1.low < coin.f1.value < coin.f1.high
    assert coin.r2 == NotMeasured("it takes two values only")


def test_a_small_network_finds_what_no_line_divides():
    known = states()
    corner = known["coin"], known["x"] % 2
    labels = {"differ": np.bitwise_xor(*corner)}
    noise = np.random.default_rng(3).standard_normal((N, 2)) * 0.1
    embeddings = (np.stack(corner, -1) + noise).astype(np.float32)
    line = probe(embeddings, labels, EPISODES, updates=300)["differ"]
    network = probe(embeddings, labels, EPISODES, kind="mlp", updates=300)["differ"]
    assert line.f1.value < 0.8  # three of four corners
    assert network.f1.value > 0.98


def test_what_is_known_of_an_episode_only_does_not_count():
    # Each episode has its own direction, and its own label: learning them by heart helps nobody.
    labels = {"luck": np.random.default_rng(0).integers(2, size=40)[EPISODES]}
    result = probe(one_hot(EPISODES), labels, EPISODES, updates=300)["luck"]
    assert result.f1.value < 0.75


def test_the_result_does_not_depend_on_basis_and_units():
    known = {"room": states()["room"]}
    embeddings = one_hot(known["room"])
    embeddings += np.random.default_rng(5).standard_normal(embeddings.shape) * np.float32(0.4)
    plain = probe(embeddings, known, EPISODES, updates=300)["room"]
    turned = probe(mixed(embeddings, 5), known, EPISODES, updates=300)["room"]
    assert turned.f1.value == pytest.approx(plain.f1.value, abs=0.02)


def test_weighted_f1_by_hand():
    # True a a a b, said a a b b: F1 of a is 4/5, of b 2/3, weighted by 3 and 1.
    counts = np.array([[[3, 1], [2, 2], [2, 1]]], dtype=np.float64)
    np.testing.assert_allclose(weighted_f1(counts), [(3 * 4 / 5 + 2 / 3) / 4])


def test_the_majority_is_that_of_always_the_most_common_value():
    rare = (np.random.default_rng(0).random(N) < 0.2).astype(np.int64)
    embeddings = np.random.default_rng(1).standard_normal((N, 2)).astype(np.float32)
    result = probe(embeddings, {"rare": rare}, EPISODES, updates=30)["rare"]
    assert isinstance(result, ProbeResult)
    # F1 of the common value is 2 * .8 / 1.8, of the rare one 0.
    assert result.majority == pytest.approx(0.8 * 2 * 0.8 / 1.8, abs=0.03)
    assert result.f1.value == pytest.approx(result.majority, abs=0.02)


def test_episodes_are_held_out_whole():
    split = split_episodes(EPISODES, np.random.default_rng(0))
    assert split is not None
    np.testing.assert_array_equal(sum(part.astype(int) for part in split), 1)
    parts = [set(EPISODES[part]) for part in split]
    assert [len(part) for part in parts] == [28, 4, 8]
    assert not (parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2])


def test_pictures_that_training_saw_are_not_scored():
    # All states of even number are one picture, whose label the embedding gives away.
    label = np.random.default_rng(0).integers(2, size=N)
    easy = np.arange(N) % 2 == 0
    embeddings = np.where(easy[:, None], one_hot(label), 0.5).astype(np.float32)
    pictures = np.where(easy, -1, np.arange(N))
    everything = probe(embeddings, {"l": label}, EPISODES, updates=200)["l"]
    unseen = probe(embeddings, {"l": label}, EPISODES, updates=200, pictures=pictures)["l"]
    assert everything.f1.value > 0.65
    assert unseen.f1.value < 0.55


def test_variables_without_a_result_say_why():
    embeddings = np.random.default_rng(0).standard_normal((N, 3)).astype(np.float32)
    labels = {
        "constant": np.full(N, 7),
        "one episode": (EPISODES == 3).astype(np.int64),
        "counter": np.arange(N),
        "room": states()["room"],
    }
    results = probe(embeddings, labels, EPISODES, updates=30)
    assert results["constant"] == NotMeasured("it is always 7")
    assert "episodes" in results["one episode"].reason
    assert results["counter"] == NotMeasured("it takes 2400 values, more than the 256 of a byte")
    assert results["room"].r2 == NotMeasured("its values have no order")
    few = probe(embeddings, labels, EPISODES // 10)
    assert set(few.values()) == {
        NotMeasured("there are 4 episodes, and it takes 5 to hold some out")
    }


def test_an_embedding_without_information_scores_as_the_majority():
    embeddings = np.full((N, 3), 0.1, dtype=np.float32)
    result = probe(embeddings, {"x": states()["x"]}, EPISODES, updates=60)["x"]
    assert result.f1.value < 0.1
    assert result.r2.value == pytest.approx(0, abs=0.05)


def test_labels_of_another_length_are_named():
    embeddings = np.zeros((N, 2), dtype=np.float32)
    with pytest.raises(ValueError, match="room must be of the embeddings' length 2400, got 3"):
        probe(embeddings, {"room": np.zeros(3, dtype=np.int64)}, EPISODES)


def test_whitening_leaves_out_what_does_not_vary():
    generator = np.random.default_rng(0)
    plain = generator.standard_normal((500, 3))
    embeddings = np.concatenate(
        [plain @ generator.standard_normal((3, 3)), plain[:, :1] * 0 + 9], 1
    )
    training = np.arange(500) < 300
    values = whitened(embeddings.astype(np.float32), training).numpy()
    assert values.shape == (500, 3)
    np.testing.assert_allclose(np.cov(values[training].T, bias=True), np.eye(3), atol=1e-4)
