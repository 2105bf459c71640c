"""Faust's Kafka consumer, mended: it commits what was confirmed in order, and seeks where nothing was committed yet.

Faults of faust-streaming 0.15.3 that this answers:

- `_new_offset` commits over an un-acked message exactly at the committed offset (off by one, #606), and, where a partition's
  first record is followed by a gap, never commits again (`if gap > 1 and r_offset` takes offset 0 for "nothing read").
  Gaps are expanded offset by offset, so one gap of compaction over millions of offsets fills the memory.
- `ack` has no generation: an ack that comes late is kept and committed in a later assignment of the same partition, over events
  that were not done. The streams ack what they skip (flow suspended, old generation; the pure Python stream does).
- `on_partitions_revoked` forgets what was acked before the last commit of the old generation: those are done twice.
- `seek_to_committed` does not move a partition without a committed offset (or at offset 0), so what was fetched and cleared
  before the seek is never seen again.
- A changelog's partitions are left without a position, for which aiokafka 0.14 asks their leaders (`_update_fetch_positions`).
  Where those have moved it asks the old ones again and again, never who leads now, until its metadata are five minutes old, and
  fetches nothing else from them meanwhile: a rebalance after leaders moved stalls the worker. So they are sought to 0, too.
- `getmany` hands its live set of active partitions to the consumer's thread. Emptied while the fetch waits, it means "all
  partitions" to aiokafka, and events of paused partitions are taken and dropped.
- a stop at the start of a rebalance may wait without end for aiokafka's fetcher (`stop_surely`).
- `wait_empty` waits without end for an event that will never be acked, and swallows its cancellation: a SIGTERM hangs.
- A committed offset beyond the log's end is reset by aiokafka, and what is read then is dropped as already read, because the read
  offset stays where the commit was.
- `read_committed` comes with Faust's transactions only: without them aborted records are delivered.

So here the commit is one number per partition: the offset after the last record that `Acks` confirmed. Whether a gap
lost anything is the sentinel's question. Each commit names its topic's id, so one that was made in another log is known, as is one
that lies beyond the end: then the partition is read from its first offset again, and what was applied is known by its position.
"""

import asyncio
from collections.abc import Iterator, Mapping
from time import monotonic
from typing import Any, NamedTuple, cast

import structlog
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.utils.futures import notify

from streamrec.worker.committed import telling_errors
from streamrec.worker.reader import Reader, stop_surely

log = structlog.get_logger(__name__)

FETCH_WAIT_MS = 500
HELD_SECONDS = 0.05  # of a fetch while partitions are held back: it does not know when they are no more
BEYOND_LOOKS, BEYOND_PAUSE = 4, 0.75  # a new leader may know less of the end than the old one did, for a moment


class Restart(NamedTuple):
    """A partition that is read from its first offset because its commit was void."""

    committed: int
    start: int
    end: int  # the partition's, when it was found
    why: str


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """A fetch waits for data half a second, not the 1.5 that Faust has hard-coded: a seek takes effect after the one in flight."""

    def _create_worker_consumer(self, transport: driver.Transport) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        consumer._isolation_level = "read_committed"
        commit, topic_ids = consumer.commit, cast(Any, self.app).topic_ids

        async def commit_with_topic_ids(offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
            named = {at: OffsetAndMetadata(each.offset, topic_ids.get(at.topic, "")) for at, each in offsets.items()}
            await commit(named)

        consumer.commit = commit_with_topic_ids
        return consumer

    async def on_start(self) -> None:
        await super().on_start()
        coordinator = cast(Any, self._consumer)._coordinator
        coordinator._send_req = cast(Any, self.app).lease.renewing(coordinator._send_req)
        coordinator._send_req = telling_errors(coordinator)

    async def on_thread_stop(self) -> None:
        await stop_surely(super().on_thread_stop(), self._consumer)


class Consumer(driver.Consumer):
    """Commits only what was confirmed; see the module."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._confirmed: dict[TP, int] = {}
        self.held_back: set[TP] = set()  # not fetched for now
        self.handed_out: dict[TP, int] = {}  # by partition, the offset after the last record that Faust was given
        self.restarted: dict[TP, Restart] = {}  # of this assignment

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def confirm(self, message: Any) -> None:
        """The message is done, and so is all of its partition before it."""
        if message.generation_id == self.app.consumer_generation_id:
            self._confirmed[message.tp] = message.offset + 1
        self.ack(message)

    def ack(self, message: Any) -> bool:
        if message.acked:
            return False
        message.acked = True
        self._unacked_messages.discard(message)
        notify(self._waiting_for_ack)
        return True

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return (tp for tp in list(self._confirmed) if topics is None or tp in topics or tp.topic in topics)

    def _new_offset(self, tp: TP) -> int | None:
        return self._confirmed.pop(tp, None)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        pass

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        await super().on_partitions_revoked(revoked)
        self._confirmed.clear()
        self.restarted.clear()
        self.handed_out.clear()
        # a queue that was full would otherwise un-pause its partition in the middle of the next recovery
        self._buffered_partitions.clear()

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self._confirmed.clear()  # confirmed between the two, of the old assignment
        await super().on_partitions_assigned(assigned, generation_id)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Does nothing: Faust's livelock detector only logs, and crashes the app if a partition has no position."""

    async def perform_seek(self) -> None:
        await super().perform_seek()
        self.restarted = await self._void_commits()
        for tp, restart in self.restarted.items():
            self._committed_offset[tp] = None
            fields = {"committed": restart.committed, "start": restart.start, "end": restart.end, "why": restart.why}
            log.error("commit is void: reading from the first offset again", topic=tp.topic, partition=tp.partition, **fields)
            cast(Any, self.app).on_void_commit(tp.topic)
        never = [tp for tp in self.assignment() if not self._committed_offset[tp]]
        # where an offset is gone, auto_offset_reset finds the earliest
        await self.seek_wait(dict.fromkeys(never, 0) | {tp: restart.start for tp, restart in self.restarted.items()})

    async def _void_commits(self) -> dict[TP, Restart]:
        """The partitions whose commit says nothing of the log that is there now."""
        app = cast(Any, self.app)
        thread = cast(Any, self._thread)
        sources = [TopicPartition(*tp) for tp in self.assignment() if not self._is_changelog_tp(tp)]
        if not sources:
            return {}
        coordinator = thread._ensure_consumer()._coordinator
        found = await thread.call_thread(coordinator.fetch_committed_offsets, sources)
        commits = {at: each for at, each in found.items() if each.offset > 0}
        if not commits:
            return {}
        async with Reader(app.connection) as reader:
            extents = await reader.extents(list(commits))
        beyond = await self._beyond({at: each.offset for at, each in commits.items() if each.offset > extents[at][1]})
        void = {}
        for at, (offset, topic_id) in commits.items():
            now = app.topic_ids.get(at.topic)
            if topic_id and now and topic_id != now:
                why = f"it was made in another log: the topic was made anew (id {topic_id}, now {now})"
            elif at in beyond:
                why = "it lies beyond the end: the log was cut or made anew, or the offset was set by hand"
            elif at.partition in app.empty_tables():
                why = "the topic sessions holds nothing of its partition: the table is made again from what the sources still have"
            else:
                continue
            void[TP(at.topic, at.partition)] = Restart(offset, *extents[at], why)
        return void

    async def _beyond(self, commits: dict[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Those of the commits that stay beyond everything that was written, committed or not."""
        if not commits:
            return {}
        async with Reader(cast(Any, self.app).connection, committed=False) as reader:
            for look in range(BEYOND_LOOKS):
                if look:
                    await asyncio.sleep(BEYOND_PAUSE)
                extents = await reader.extents(list(commits))
                commits = {at: offset for at, offset in commits.items() if offset > extents[at][1]}
                if not commits:
                    break
        return commits

    def has_more(self, tp: TP) -> bool:
        """Whether a partition of ours is known to hold records that were not fetched yet, or nothing is known of its end yet."""
        state = self._states().get(tp)
        if state is None:
            return False
        return not state.has_valid_position or state.lso is None or state.position < state.lso

    def stable_ends(self) -> dict[TP, tuple[int, int]]:
        """By partition the last stable offset and the end, as the last fetch said; both are equal where no transaction is open."""
        states = self._states().items()
        return {tp: (state.lso, state.highwater) for tp, state in states if state.lso is not None and state.highwater is not None}

    def _states(self) -> Mapping[TP, Any]:
        """What aiokafka keeps of each partition of ours."""
        consumer = cast(Any, self._thread)._consumer
        subscription = consumer and consumer._subscription.subscription
        assignment = subscription and subscription.assignment
        return assignment._tp_state if assignment else {}

    def advance(self, tp: TP, offset: int) -> None:
        """Commits over what holds no record: markers of transactions, aborted records, what compaction removed."""
        if tp in self.assignment():
            self._confirmed[tp] = max(offset, self._confirmed.get(tp, 0))

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:
        if active_partitions is None:
            return await super()._getmany(None, timeout)
        wanted = active_partitions - self.held_back
        if not wanted:  # none would mean all
            await asyncio.sleep(HELD_SECONDS)
            return {}
        if len(wanted) < len(active_partitions):
            timeout = min(timeout, HELD_SECONDS)
        fetched = await super()._getmany(wanted, timeout)
        self.handed_out |= {TP(*at): records[-1].offset + 1 for at, records in fetched.items()}
        return fetched

    async def wait_empty(self) -> None:
        app = cast(Any, self.app)
        app.before_drain()
        end = monotonic() + app.drain_timeout
        while self._unacked_messages and not self.should_stop and app.failure is None and monotonic() < end:
            acked = self._waiting_for_ack = self.loop.create_future()
            await asyncio.wait({acked}, timeout=end - monotonic())
        if self._unacked_messages:
            late = sorted(f"{message.topic}[{message.partition}]@{message.offset}" for message in self._unacked_messages)
            self.log.warning("%d events are not done and will come again: %s", len(late), late[:5])
        if app.failure is None:  # else the process ends, and what is confirmed until then is committed still
            app.after_drain()
        await app.in_time(app.producer.flush())
        await app.in_time(self.commit_and_end_transactions())


class Producer(driver.Producer):
    """Writes nothing without a lease: see `streamrec.worker.lease`."""

    def _new_producer(self, transactional_id: str | None = None) -> Any:
        producer = super()._new_producer(transactional_id)
        lease = cast(Any, self.app).lease
        producer.client.send = lease.holding_back(producer.client.send)
        connect = producer.client._get_conn

        async def connect_guarded(*args: Any, **options: Any) -> Any:
            connection = await connect(*args, **options)
            writer = connection and connection._writer  # none where it was closed at once
            if writer and "write" not in vars(writer):
                writer.write = lease.guarding(writer.write)
            return connection

        producer.client._get_conn = connect_guarded
        return producer


class Transport(driver.Transport):
    """Faust's Kafka transport with the mended consumer and producer."""

    Consumer = Consumer
    Producer = Producer
