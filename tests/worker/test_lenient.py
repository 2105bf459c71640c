"""What aiokafka fetched is read whatever its headers are called; without the mend it is not."""

from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from streamrec.worker import lenient

PLACE = TopicPartition("clicks", 0)


def batch(base_offset: int, *names: str, codec: int = 0) -> bytes:
    """A fetched batch of a record for each name; a name of Z's becomes one that is no UTF-8."""
    options = {"is_transactional": 0, "producer_id": -1, "producer_epoch": -1, "base_sequence": -1, "batch_size": 10_000}
    builder: Any = DefaultRecordBatchBuilder(magic=2, compression_type=0, **options)
    for offset, name in enumerate(names):
        builder.append(offset, timestamp=5, key=b"k", value=b"%d" % (base_offset + offset), headers=[("a", b"\xff"), (name, None)])
    raw = bytearray(builder.build())
    raw[:8] = base_offset.to_bytes(8)
    return bytes(raw).replace(b"ZZZ", b"\xff\xfe\x80")


def read(records: type, partition: type, raw: bytes, start: int = 0) -> list[Any]:
    return list(partition(PLACE, records(raw), [], start, None, None, False, 0))


RAW = batch(0, "b", "ZZZ", "c") + batch(3, "d", "ZZZ")
LATER = batch(0, "b", "c") + batch(2, "d", "ZZZ", "e")


def test_without_the_mend_a_name_that_is_no_utf8_stops_the_partition() -> None:
    with pytest.raises(UnicodeDecodeError):
        read(lenient._Records, lenient._Partition, RAW)


@pytest.mark.parametrize("start", range(3))
def test_every_record_is_read_once_and_such_a_name_is_spelled_out(start: int) -> None:
    found = read(lenient.KeptRecords, lenient.PartitionRecords, RAW, start)
    assert [(each.offset, each.value) for each in found] == [(n, b"%d" % n) for n in range(start, 5)]
    names = ["b", r"\xff\xfe\x80", "c", "d", r"\xff\xfe\x80"]
    assert [each.headers for each in found] == [(("a", b"\xff"), (names[each.offset], None)) for each in found]


def test_what_was_handed_out_before_such_a_name_is_not_handed_out_again() -> None:
    found = read(lenient.KeptRecords, lenient.PartitionRecords, LATER)
    assert [each.offset for each in found] == [0, 1, 2, 3, 4]


def test_where_all_names_are_text_nothing_is_read_another_way() -> None:
    raw = batch(0, "b", "c")
    assert read(lenient.KeptRecords, lenient.PartitionRecords, raw) == read(lenient._Records, lenient._Partition, raw)
