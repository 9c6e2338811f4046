"""Which version two peers speak, and who is told to upgrade when there is none."""

from __future__ import annotations

import pytest

from predictd_proto.errors import ProtocolVersionError
from predictd_proto.version import choose_version


@pytest.mark.parametrize(
    ("theirs", "ours", "chosen"),
    [((1, 1), (1, 1), 1), ((1, 3), (1, 2), 2), ((1, 2), (2, 3), 2), ((0, 255), (4, 7), 7), ((5, 5), (4, 7), 5)],
)
def test_the_newest_that_both_speak(theirs: tuple[int, int], ours: tuple[int, int], chosen: int) -> None:
    for them in ("client", "server"):
        assert chosen == choose_version(
            their_oldest=theirs[0], their_newest=theirs[1], our_oldest=ours[0], our_newest=ours[1], them=them
        )


@pytest.mark.parametrize(
    ("theirs", "ours", "them", "older"),
    [
        ((1, 2), (3, 4), "client", "client"),
        ((1, 2), (3, 4), "server", "server"),
        ((5, 6), (3, 4), "client", "server"),
        ((5, 6), (3, 4), "server", "client"),
    ],
)
def test_the_older_side_is_named(theirs: tuple[int, int], ours: tuple[int, int], them: str, older: str) -> None:
    with pytest.raises(ProtocolVersionError) as caught:
        choose_version(
            their_oldest=theirs[0], their_newest=theirs[1], our_oldest=ours[0], our_newest=ours[1], them=them
        )
    assert str(caught.value).startswith(f"the {older} is older")
    assert caught.value.detail == {"ours": list(ours), "theirs": list(theirs), "older": older}


def test_this_build_speaks_with_itself() -> None:
    assert choose_version(their_oldest=1, their_newest=1, them="server") == 1
