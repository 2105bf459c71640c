"""aiokafka's reader, mended: a record whose header name is not UTF-8 is read, with the name's bytes written as ``\\xff``.

The fault (aiokafka 0.14): names are decoded strictly, so such a record, which librdkafka sends and every broker takes, raises
UnicodeDecodeError out of `getmany` each time that its partition is fetched. Nothing behind it is ever read.

The mend: where that happens the fetched bytes are read once more, by aiokafka's own reader in Python, over a buffer that decodes
leniently; what was handed out already is skipped by its offset.
"""

from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record import default_records, memory_records

_Records: Any = fetcher.MemoryRecords
_Partition: Any = fetcher.PartitionRecords
_PyRecords: Any = memory_records._MemoryRecordsPy
_PyBatch: Any = default_records._DefaultRecordBatchPy


class _Buffer(bytearray):
    def __getitem__(self, place: Any) -> Any:
        found = super().__getitem__(place)
        return _Buffer(found) if isinstance(place, slice) else found

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return bytes(self).decode(encoding, "backslashreplace")


class _Batch(_PyBatch):
    _buffer: Any

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        if not isinstance(self._buffer, _Buffer):
            self._buffer = _Buffer(self._buffer)


class _LenientRecords(_PyRecords):
    def next_batch(self) -> Any:
        raw = self._next_slice
        batch = super().next_batch()
        return _Batch(raw) if isinstance(batch, default_records.DefaultRecordBatch) else batch  # older formats have no headers


class KeptRecords(_Records):
    """The fetched records of a partition, and the bytes that they are read from."""

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw)
        self.raw = raw


class PartitionRecords(_Partition):
    """As aiokafka's; begins anew, leniently, where a header name cannot be decoded."""

    _records: Any

    def __next__(self) -> Any:
        try:
            return super().__next__()
        except UnicodeDecodeError:
            if isinstance(self._records, _LenientRecords):
                raise
            handed_out = self.next_fetch_offset
            self._records = _LenientRecords(self._records.raw)
            self._records_iterator = (record for record in self._unpack_records() if record.offset >= handed_out)
            return super().__next__()


fetcher.MemoryRecords = KeptRecords
fetcher.PartitionRecords = PartitionRecords
