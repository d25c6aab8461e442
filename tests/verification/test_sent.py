import numpy as np
import pytest

from nsc_deploy.channels.config import BinaryChannelConfig
from nsc_deploy.errors import ConfigError
from nsc_deploy.verification.sent import draw_sent, sent_of, tiles
from tests.support.feature_systems import system, write_run
from tests.support.small_runs import dense_run


@pytest.mark.parametrize("name", ["snn-sc", "cnn-sc"])
def test_the_bits_of_a_sample_as_sent_and_as_received(tmp_path, name):
    run = write_run(tmp_path / "run", system(name, channel=BinaryChannelConfig(kind="bec", p=0.3, p_to=0.6)))
    found = sent_of(run, 4)
    assert found.sent.shape == found.received.shape == (4, 2, 2, 3)
    assert set(np.unique(found.sent)) == {0, 1}
    assert 0 < found.wrong < found.sent.size / 2
    assert (found.label, found.channel) == ("one", "bec p 0.3 to 0.6")
    assert found.image.shape == (1, 4, 6)


def test_a_picture_of_them(tmp_path):
    draw_sent(write_run(tmp_path / "run", system()), 4, tmp_path / "sent.svg")
    assert "<svg" in (tmp_path / "sent.svg").read_text()


def test_what_is_erased_and_read_as_one_half_is_neither_right_nor_wrong(tmp_path):
    channel = BinaryChannelConfig(kind="bec", p=0.5, erased="half")
    run = write_run(tmp_path / "run", system("cnn-sc", channel=channel))
    found = sent_of(run, 4)
    halves = found.received == 0.5
    assert found.erased == halves.sum() > 0
    assert found.wrong == 0
    assert np.array_equal(found.marked, np.where(halves, 4, found.sent))
    draw_sent(run, 4, tmp_path / "sent.svg")
    assert f"0 arrive otherwise, {found.erased} are erased" in (tmp_path / "sent.svg").read_text()


def test_a_clean_channel_changes_nothing(tmp_path):
    found = sent_of(write_run(tmp_path / "run", system(channel=BinaryChannelConfig(p=0.0))), 0)
    assert found.wrong == 0


def test_maps_lie_beside_each_other():
    maps = np.arange(8.0).reshape(2, 2, 2)
    picture = tiles(maps)
    assert picture.shape == (2, 5)
    assert np.array_equal(picture[:, :2], maps[0])
    assert np.isnan(picture[:, 2]).all()


@pytest.mark.parametrize(
    ("sample", "file", "told"),
    [(6, "sent.png", "there is no sample 6: 6 are recorded"), (0, "sent.txt", "cannot have the ending")],
)
def test_refuses_what_cannot_be_drawn(tmp_path, sample, file, told):
    run = write_run(tmp_path / "run", system())
    with pytest.raises(ConfigError, match=told):
        draw_sent(run, sample, tmp_path / file)
    assert not (tmp_path / file).exists()


def test_a_run_of_a_receiver_for_speech_sends_no_bits(tmp_path):
    with pytest.raises(ConfigError, match="sends symbols over a channel with noise"):
        sent_of(dense_run(tmp_path / "run"), 0)
