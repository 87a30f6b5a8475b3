"""What the tests of control share: a control surface beside the `hands` of each module."""

from collections.abc import Iterator

import pytest

from performer.control.hands import Hands
from tests.control.test_hands import Peer


@pytest.fixture
def peer(hands: Hands) -> Iterator[Peer]:
    """A surface with a socket of its own."""
    made = Peer(hands)
    yield made
    made.socket.close()
