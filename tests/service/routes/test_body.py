"""Encoded bodies: what they inflate to is bounded, and broken ones are refused."""

import gzip
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from posneg.service.errors import BadRequest, TooLarge
from posneg.service.routes.body import inflate

LIMIT = 100_000
ENCODE = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "zstd": zstandard.compress,
    "identity": bytes,
    "": bytes,
}


@given(body=st.binary(max_size=2000), encoding=st.sampled_from(sorted(ENCODE)))
def test_what_was_encoded_comes_back(body: bytes, encoding: str) -> None:
    """Each encoding is undone."""
    assert inflate(ENCODE[encoding](body), encoding, LIMIT) == body


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_body_may_inflate_up_to_the_limit(encoding: str) -> None:
    """One byte more is too large."""
    assert len(inflate(ENCODE[encoding](bytes(LIMIT)), encoding, LIMIT)) == LIMIT
    with pytest.raises(TooLarge):
        inflate(ENCODE[encoding](bytes(LIMIT + 1)), encoding, LIMIT)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_bomb_is_refused(encoding: str) -> None:
    """A thousandfold inflation ends at the limit."""
    with pytest.raises(TooLarge, match="max_body_mib"):
        inflate(ENCODE[encoding](bytes(64 * 2**20)), encoding, LIMIT)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize("cut", [1, 5, 12])
def test_a_body_cut_short_is_refused(encoding: str, cut: int) -> None:
    """Also where all that was missing is its checksum."""
    with pytest.raises(BadRequest):
        inflate(ENCODE[encoding](b"something to say" * 20)[:-cut], encoding, LIMIT)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_one_member_is_all_there_is(encoding: str) -> None:
    """A second one, or anything else behind the end, is refused rather than passed over."""
    whole = ENCODE[encoding](b"body")
    for behind in (whole, b"x", bytes(3000)):
        with pytest.raises(BadRequest, match="behind its end"):
            inflate(whole + behind, encoding, LIMIT)


@given(body=st.binary(max_size=200), encoding=st.sampled_from(["gzip", "zstd"]))
def test_noise_is_refused(body: bytes, encoding: str) -> None:
    """What was never encoded is no such body; bare deflate is none either."""
    for noise in (body, zlib.compress(body)):
        with pytest.raises(BadRequest):
            inflate(noise, encoding, LIMIT)
