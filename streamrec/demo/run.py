"""The demo from start to summary: a Kafka, the topics, a worker, live events, and what comes of them.

Whatever is started here ends with this process, also when it is killed in the middle of its start.
"""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from queue import Empty
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamrec.admin.topics import apply
from streamrec.build import DEMO_BUNDLE
from streamrec.core.errors import UserError
from streamrec.core.types import Event, Explanation, Recommendation
from streamrec.core.wire import decode, format_of
from streamrec.demo.live import Subscriber, send_events, send_items
from streamrec.demo.show import lines
from streamrec.demo.tally import Tally
from streamrec.demo.worker import WorkerProcess
from streamrec.eventlog.dataset import Dataset, read_dataset
from streamrec.localkafka import LocalKafka
from streamrec.serving.bundle import Bundle, load_bundle
from streamrec.settings import Settings

DATA = Path(__file__).parent / "data" / "classic-rock-radio"
DRAIN_SECONDS = 5.0  # for what is still under way at the end
KNOWN_SHARE = 0.5  # of the events: below it the bundle has nothing to say about the data

Say = Callable[[str], None]


class Demo:
    """One run of the demo.

    Args:
        settings: ``broker`` is used only where ``own_kafka`` is False.
        say: told what is being done, while starting.
        show: given each recommendation's lines.
        fetching: told how many bytes of Kafka's jars have come, of how many.
    """

    def __init__(
        self, settings: Settings, data: Path | None, own_kafka: bool, say: Say, show: Say, fetching: Callable[[int, int, str], None]
    ) -> None:
        self._settings = settings
        self._data = data or DATA
        self._own_kafka = own_kafka
        self._say = say
        self._show = show
        self._fetching = fetching
        self._stop = threading.Event()
        self._events: dict[str, Event] = {}
        self._unexplained: dict[str, tuple[Recommendation, float | None]] = {}
        self._early: dict[str, Explanation] = {}  # two topics have no order between them: it may come before what it explains
        self._tally = Tally()

    def run(self, seconds: float | None, rate: float) -> dict[str, Any]:
        """Runs for so many seconds from the first event, or until all are sent, or Ctrl-C; returns the summary.

        Raises:
            UserError: something could not be read or started.
        """
        started = time.monotonic()
        dataset, bundle = read_dataset(self._data), load_bundle(self._settings.bundle or DEMO_BUNDLE)
        rows = _later_rows(dataset, bundle, self._data)
        with ExitStack() as running:
            try:
                subscriber = self._start(running, dataset)
                self._say(f"ready after {time.monotonic() - started:.1f} s; {rate:g} events a second from {self._data.name}")
                self._stream(running, subscriber, dataset, rows, seconds, rate)
            except KeyboardInterrupt:
                self._say("stopping")
            finally:
                self._stop.set()
        return self._tally.summary()

    def _start(self, running: ExitStack, dataset: Dataset) -> Subscriber:
        settings = self._settings
        if self._own_kafka:
            self._say("starting a real Apache Kafka")
            kafka = running.enter_context(LocalKafka(progress=self._fetching))
            settings = settings.model_copy(update={"broker": kafka.bootstrap_servers, "security_protocol": "PLAINTEXT"})
            self._say(f"it listens on {kafka.bootstrap_servers}")
        self._say("creating the topics")
        apply(settings)
        self._say("starting the worker")
        worker = running.enter_context(WorkerProcess(settings))
        send_items(dataset, settings)
        worker.wait_ready()
        subscriber = Subscriber(settings)
        subscriber.start()
        running.callback(subscriber.stop)
        self._settings = settings
        self._worker = worker
        return subscriber

    def _stream(
        self, running: ExitStack, subscriber: Subscriber, dataset: Dataset, rows: NDArray[Any], seconds: float | None, rate: float
    ) -> None:
        producer = threading.Thread(
            target=send_events,
            args=(dataset, rows.tolist(), rate, self._settings, self._sending, self._stop),
            name="producer",
            daemon=True,
        )
        ends_at = time.monotonic() + seconds if seconds is not None else float("inf")
        producer.start()
        running.callback(producer.join)
        running.callback(self._stop.set)
        try:
            while producer.is_alive() and time.monotonic() < ends_at:
                self._take(subscriber, dataset)
                subscriber.check()
                self._worker.check()
        finally:
            self._stop.set()
            self._say("no more events; waiting for what is under way")
            producer.join()
            give_up_at = time.monotonic() + DRAIN_SECONDS
            while not self._is_drained() and time.monotonic() < give_up_at:
                self._take(subscriber, dataset)

    def _sending(self, event: Event) -> None:
        self._events[event.event_id] = event
        self._tally.sent(event.user_id, event.event_id, time.monotonic())

    def _is_drained(self) -> bool:
        return self._tally.waiting == 0 and not self._unexplained

    def _take(self, subscriber: Subscriber, dataset: Dataset) -> None:
        try:
            record, at = subscriber.received.get(timeout=0.1)
        except Empty:
            return
        if record.topic == "dead-letters":
            self._tally.dead_letters += 1
        elif record.topic == "recommendations":
            self._recommended(decode(Recommendation, record.value, format_of(record.headers)), at, dataset)
        else:
            self._explained(decode(Explanation, record.value, format_of(record.headers)), dataset)

    def _recommended(self, recommendation: Recommendation, at: float, dataset: Dataset) -> None:
        event = self._events.get(recommendation.trigger.event_id)
        if event is None:
            return  # another producer's, on a shared broker
        latency = self._tally.recommended(event.user_id, event.event_id, len(recommendation.items), at)
        self._unexplained[recommendation.recommendation_id] = recommendation, latency
        early = self._early.pop(recommendation.recommendation_id, None)
        if early is not None:
            self._explained(early, dataset)

    def _explained(self, explanation: Explanation, dataset: Dataset) -> None:
        if explanation.recommendation_id not in self._unexplained:
            self._early[explanation.recommendation_id] = explanation
            return
        recommendation, latency = self._unexplained.pop(explanation.recommendation_id)
        self._tally.explanations_out += 1
        item_id = self._events[recommendation.trigger.event_id].item_id
        for line in lines(recommendation, explanation, item_id, dataset.items, latency):
            self._show(line)


def _later_rows(dataset: Dataset, bundle: Bundle, folder: Path) -> NDArray[Any]:
    """The rows after the days that the bundle was trained on; all of them where there are none."""
    rows = np.flatnonzero(dataset.is_interaction)
    later = rows[dataset.occurred_at[rows] > bundle.manifest.data.last]
    rows = later if len(later) else rows
    known = [item_id in bundle.items for item_id in dataset.item_ids]
    share = float(np.mean(np.array(known)[dataset.item_index[rows]]))
    if share < KNOWN_SHARE:
        raise UserError(
            f"{folder}: the bundle knows the items of only {share:.0%} of its events; train one on it first: "
            f"`streamrec train {folder} --out BUNDLE`, then give --bundle BUNDLE"
        )
    return rows
