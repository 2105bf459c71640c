"""Whatever bytes come, each reader reads them or refuses them with a typed error. `make fuzz` tries millions of them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamrec.core.errors import UserError
from tests.fuzz.readers import READERS, Reader, attempt

FEW = settings(max_examples=25)

each_reader = pytest.mark.parametrize("name", READERS)


@st.composite
def damaged(draw: st.DrawFn, name: str) -> bytes:
    """A seed with some of its bytes cut out, repeated, swapped for others or for a piece of another seed."""
    seeds = READERS[name].seeds()
    data, other = bytearray(draw(st.sampled_from(seeds))), draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from([0, 1, 2, 8, 64])))
        piece = draw(
            st.binary(max_size=8)
            | st.just(other[start:][:64])
            | st.just(bytes(data[start:end]) * 3)
            | st.sampled_from([b"\0", b"\xff", b"NaN", b"1e999", b"[" * 2000, b"{}", b"null", b"-1", b"9" * 400])
        )
        data[start:end] = piece
    return bytes(data)


@each_reader
def test_each_seed_that_should_be_read_is(name: str) -> None:
    read = 0
    for seed in READERS[name].seeds():
        try:
            READERS[name].read(seed)
        except Exception:
            continue
        read += 1
    assert read


@each_reader
@FEW
@given(data=st.data())
def test_damaged_bytes_are_read_or_refused(name: str, data: st.DataObject) -> None:
    attempt(READERS[name], data.draw(damaged(name)))


@each_reader
@FEW
@given(data=st.binary(max_size=64))
def test_any_bytes_are_read_or_refused(name: str, data: bytes) -> None:
    attempt(READERS[name], data)


def test_what_is_no_typed_error_goes_through() -> None:
    def careless(data: bytes) -> None:
        raise UserError("fine") if not data else KeyError(data)

    attempt(Reader(careless, lambda: []), b"")
    with pytest.raises(KeyError):
        attempt(Reader(careless, lambda: []), b"x")
