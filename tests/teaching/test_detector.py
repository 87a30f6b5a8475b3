"""What the detector is taught with is what it sees in a show, and what it is taught is what it answers."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from performer.audio.front import NARROW_EDGES_HZ, Front, band_matrix  # noqa: E402
from performer.audio.hits import FLOOR_DB, HEARD, NETWORK, Detector  # noqa: E402
from performer.audio.source import VoiceSpec  # noqa: E402
from performer.teaching.detector import Network, inputs, labels, narrow_db  # noqa: E402
from performer.teaching.takes import HAT, KICK, ONSET, RATE_HZ, Piece, melody  # noqa: E402

BANDS = len(NARROW_EDGES_HZ) - 1


@pytest.fixture(scope="module")
def played():
    """(sound, its hits) of a made-up melody."""
    return melody(np.random.default_rng(3), 3 * RATE_HZ, 0.5)


def test_the_spectrum_is_that_of_a_show(played):
    sound, _ = played
    taught = narrow_db(sound)
    front = Front(rate_hz=RATE_HZ, channels=1, voices=(VoiceSpec(),))
    matrix = band_matrix(NARROW_EDGES_HZ, rate_hz=RATE_HZ, window=front.window)
    for hop in range(len(sound) // front.hop):
        incoming = sound[hop * front.hop : (hop + 1) * front.hop, None]
        front.take(incoming, gain=np.ones(1), gate_db=np.full(1, -np.inf))
        shown = 10.0 * np.log10(np.maximum(front.power @ matrix, 10.0 ** (FLOOR_DB / 10)))
        loud = taught[hop] > max(taught[hop].max() - 20.0, -60.0)
        loud[:3] = False  # below 150 Hz the mean leaks in, which teaching leaves out and a show follows slowly
        assert np.abs(shown[0] - taught[hop])[loud].max(initial=0.0) < 0.3


def test_the_detector_answers_as_the_network_that_was_taught(played):
    db = narrow_db(played[0])
    net = Network(BANDS)
    net.load(NETWORK)
    with torch.no_grad():
        taught = torch.sigmoid(net(torch.from_numpy(inputs(db).astype(np.float32))[None]))[0].numpy()
    detector = Detector(voices=1, bands=BANDS, hop_s=256 / RATE_HZ)
    for hop, now in enumerate(db):
        detector.step(hop, now[None])
        # Inputs are kept in half precision for teaching.
        assert np.abs(detector.probability[0] - taught[hop]).max() < 0.05


def test_a_network_survives_its_file(tmp_path):
    first, again = Network(BANDS), Network(BANDS)
    first.save(tmp_path / "net.safetensors")
    again.load(tmp_path / "net.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


def test_a_drum_is_asked_for_in_its_own_column_a_hop_later():
    hops = 400
    x = np.zeros((hops, 3 * BANDS), np.float16)
    x[:, BANDS : 2 * BANDS] = 1.0  # everything rises by 10 dB: all can be heard
    wanted, _ = labels(Piece(np.zeros(1, np.float32), ((1.0, KICK), (1.5, ONSET))), x)
    at = int((1.0 * RATE_HZ + 128) // 256)
    columns = {name: np.flatnonzero(wanted[:, column]).tolist() for column, name in enumerate(HEARD)}
    assert columns["onset"][:2] == [at, at + 1]
    assert len(columns["onset"]) == 4
    assert columns["kick"] == [at + 1, at + 2]
    assert columns["snare"] == columns["hat"] == []
    assert HEARD.index("hat") == HAT


def test_what_rises_nowhere_is_asked_of_nobody():
    x = np.zeros((400, 3 * BANDS), np.float16)
    wanted, weight = labels(Piece(np.zeros(1, np.float32), ((1.0, KICK),)), x)
    assert weight[wanted > 0].max() == 0
