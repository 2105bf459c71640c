"""The catalogue at any version: what its records, folded in order, had made of it by then."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrec.core.catalogue import Catalogue
from streamrec.core.types import Item
from tests.make import catalogue, item

NAMES = "abcd"
# What a record does: puts an item there (with its number as the title), withdraws one, or is unreadable.
RECORDS = st.lists(st.tuples(st.sampled_from(["put", "withdraw", "unreadable"]), st.sampled_from(NAMES)), max_size=20)


def read(records: list[tuple[str, str]], base: dict[str, Item]) -> Catalogue:
    made = Catalogue(base)
    for offset, (what, name) in enumerate(records):
        if what == "unreadable":
            made.skip_to(offset + 1)
        else:
            made.apply(offset, name, item(name, title=str(offset)) if what == "put" else None)
    return made


@given(records=RECORDS, known=st.sets(st.sampled_from(NAMES)))
def test_any_version_is_the_fold_of_the_records_below_it(records: list[tuple[str, str]], known: set[str]) -> None:
    base = {name: item(name, title="base") for name in known}
    made = read(records, base)
    assert made.version == len(records)
    folded: dict[str, Item | None] = dict(base)
    for version in range(len(records) + 1):
        assert {name: made.at(version).get(name) for name in NAMES} == {name: folded.get(name) for name in NAMES}
        if version < len(records) and records[version][0] != "unreadable":
            what, name = records[version]
            folded[name] = item(name, title=str(version)) if what == "put" else None


def test_a_view_stays_as_it_was_while_the_catalogue_goes_on() -> None:
    made = catalogue("a")
    before = made.at(0)
    made.apply(0, "a", None)
    assert before.get("a") == item("a")
    assert made.at(1).get("a") is None
    assert (before.version, made.at(1).version) == (0, 1)


def test_compacted_offsets_are_passed_over() -> None:
    made = catalogue()
    made.apply(5, "a", item("a"))
    assert made.version == 6
    assert (made.at(5).get("a"), made.at(6).get("a")) == (None, item("a"))


def test_going_back_is_refused() -> None:
    made = catalogue()
    made.apply(5, "a", item("a"))
    with pytest.raises(ValueError, match="items offset 5 comes after version 6"):
        made.apply(5, "b", item("b"))


def test_skipping_never_goes_back() -> None:
    made = catalogue()
    made.skip_to(7)
    made.skip_to(3)
    assert made.version == 7
