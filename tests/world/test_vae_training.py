import numpy as np
import pytest
import torch

from ngu.world.vae import ConvVAE, VAEConfig
from ngu.world.vae_training import VAETraining, VAETrainingConfig

CONFIG = VAETrainingConfig(epochs=2, batch_size=16, learning_rate=1e-3, held_out_share=0.1)


def squares(count=300):
    """A bright square of 6 x 6 somewhere in 16 x 16: two numbers tell it all."""
    pictures = np.zeros((count, 16, 16), np.uint8)
    rows, columns = np.random.default_rng(0).integers(0, 10, (2, count))
    for picture, row, column in zip(pictures, rows, columns, strict=True):
        picture[row : row + 6, column : column + 6] = 255
    return pictures


def training(pictures=None, config=CONFIG, likelihood="gaussian", **settings):
    vae = ConvVAE((16, 16), VAEConfig(latent_dim=4, free_nats=0.0, likelihood=likelihood))
    pictures = squares() if pictures is None else pictures
    return VAETraining(vae, pictures, config, seed=0, precision="float32", **settings)


def weights_of(one: VAETraining) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in one.vae.parameters()])


def test_it_learns_where_the_square_is():
    config = VAETrainingConfig(epochs=20, batch_size=32, learning_rate=2e-3)
    one = training(squares(1000), config)
    before = one.evaluate()
    metrics = list(one)
    report = one.evaluate()
    assert len(metrics) == one.updates == one.total_updates == 20 * (950 // 32)
    assert report.squared_error < 0.2 * before.squared_error
    assert 2 <= report.active_units <= 4
    assert report.evidence > before.evidence
    assert report.bits_per_dimension < before.bits_per_dimension
    assert metrics[-1]["loss"] < 0.3 * metrics[0]["loss"]
    # What is seen costs something, and a dimension that tells nothing costs nothing.
    assert report.kl.max() > 1


def test_a_square_costs_few_bits_by_the_logistic():
    config = VAETrainingConfig(epochs=10, batch_size=32, learning_rate=2e-3)
    one = training(squares(1000), config, likelihood="logistic")
    before = one.evaluate().bits_per_dimension
    list(one)
    assert one.evaluate().bits_per_dimension < 0.5 * before


def test_resumed_is_uninterrupted():
    whole, stopped, resumed = training(), training(), training()
    for updates, _ in enumerate(stopped, start=1):
        if updates == whole.updates_per_epoch + 3:  # within the second epoch
            break
    resumed.load_state_dict(stopped.state_dict())
    list(resumed)
    list(whole)
    assert resumed.updates == whole.updates
    assert torch.equal(weights_of(resumed), weights_of(whole))


def test_what_is_held_out_is_not_trained_on():
    pictures = squares()
    changed = pictures.copy()
    changed[-30:] = 128
    one, other = training(pictures), training(changed)
    assert len(one.held_out) == 30
    assert list(one) == list(other)


def test_each_picture_comes_once_an_epoch():
    one = training()
    seen = []
    one.vae.bound = lambda pictures, generator: seen.append(pictures.sum((1, 2))) or bound(pictures)
    bound = ConvVAE((16, 16)).bound
    numbered = np.arange(300, dtype=np.uint8)[:, None, None] * np.ones((16, 16), np.uint8)
    one._pictures = numbered[:256]
    for _, _ in zip(range(16), one, strict=False):
        pass
    assert sorted(torch.cat(seen).tolist()) == [256 * i for i in range(256)]


def test_an_infinite_loss_is_not_trained_on():
    one = training()
    with torch.no_grad():
        one.vae.moments.bias[0] = 1e30
    before = weights_of(one)
    with pytest.raises(FloatingPointError, match="the loss is inf in update 1"):
        next(iter(one))
    assert torch.equal(weights_of(one), before)


@pytest.mark.parametrize(
    ("pictures", "error", "sentence"),
    [
        (squares(17), ValueError, "a batch of 16 pictures beside the 2 held out, got 17 in all"),
        (squares().astype(np.float32), TypeError, "dtype uint8, got torch.float32"),
        (squares()[:, :, :15], ValueError, r"shape \[B, 16, 16\], got \[1, 16, 15\]"),
    ],
)
def test_pictures_that_do_not_fit(pictures, error, sentence):
    with pytest.raises(error, match=sentence):
        VAETraining.__init__.__wrapped__(
            object.__new__(VAETraining), ConvVAE((16, 16)), pictures, CONFIG, seed=0
        )


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0, got 0"),
        ({"held_out_share": 1.0}, "held_out_share must be between 0 and 1, got 1"),
    ],
)
def test_settings_out_of_range(setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        VAETrainingConfig(**setting)
