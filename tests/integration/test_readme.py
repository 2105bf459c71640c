"""README's subscriber, as it is printed there, reads what a worker sends in either format."""

import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from streamrec.admin.client import connect_producer
from streamrec.admin.topics import apply
from streamrec.core.wire import CONTENT_TYPES, Format, encode
from streamrec.localkafka import LocalKafka
from streamrec.settings import Settings, load_settings
from tests.make import Uniform, catalogue, pipeline, session

README = Path(__file__).parents[2] / "README.md"
FORMATS: list[Format] = ["msgpack", "json"]


def snippet(settings: Settings) -> str:
    """The first Python block, for this broker and prefix."""
    [code] = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)[:1]
    for printed, here in {
        "127.0.0.1:9092": settings.broker,
        '"recommendations"': f'"{settings.topic_prefix}recommendations"',
    }.items():
        assert printed in code
        code = code.replace(printed, here)
    return str(code)


@pytest.fixture
def settings(kafka: LocalKafka, topic_prefix: str) -> Settings:
    settings = load_settings(broker=kafka.bootstrap_servers, topic_prefix=topic_prefix)
    apply(settings)
    return settings


@pytest.mark.parametrize("written_as", FORMATS)
def test_the_subscriber_reads_either_format(settings: Settings, written_as: Format) -> None:
    [slate] = pipeline(Uniform("abc")).recommend([session("a", user_id="anna")], catalogue(*"abc"))
    headers = [("content-type", CONTENT_TYPES[written_as])]
    topic = f"{settings.topic_prefix}recommendations"
    command = [sys.executable, "-u", "-c", snippet(settings)]
    ended = threading.Event()
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as subscriber,
        connect_producer(settings) as producer,
    ):

        def send() -> None:  # again and again: the subscriber begins with what comes after it
            while not ended.wait(0.3):
                producer.send(topic, key=b"gone", value=None)
                producer.send(topic, key=b"anna", value=encode(slate, written_as), headers=headers)

        sending = threading.Thread(target=send)
        sending.start()
        giving_up = threading.Timer(60, subscriber.kill)
        giving_up.start()
        try:
            assert subscriber.stdout is not None
            said = subscriber.stdout.readline()
        finally:
            giving_up.cancel()
            ended.set()
            sending.join()
            subscriber.kill()
    items = [each.item_id for each in slate.items]
    assert items
    assert said == f"anna {items} because of {slate.trigger.event_id}\n"
