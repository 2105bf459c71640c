"""Packages that others use when they are there, and do without, slowly, when they are not."""

from kafka.record import util


def test_kafka_python_checks_records_with_compiled_code() -> None:
    assert util.crc32c_c is not None
    assert util.calc_crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C
