"""What a lease is renewed by, when it ends, and what it lets pass."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import for_code
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.produce import ProduceRequest

from streamrec.worker import lease as module
from streamrec.worker.lease import Lease

PRODUCE, METADATA = b"\0\0\0\x10\0\0\0\x09rest", b"\0\0\0\x10\0\3\0\x09rest"
HEARTBEAT = HeartbeatRequest("group", 1, "member")
SYNC = SyncGroupRequest("group", 1, "member", None, [])
LEAVE = LeaveGroupRequest("group", "member")
JOIN = JoinGroupRequest("group", 1000, 1000, "member", None, "consumer", [])
REBALANCE = 27


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(module, "now", lambda: clock.now)
    return clock


def ask(lease: Lease, request: Any, clock: SimpleNamespace, *, code: int = 0, takes: float = 0.0) -> None:
    async def answer(asked: Any) -> Any:
        assert asked is request
        clock.now += takes
        return SimpleNamespace(error_code=code)

    response = asyncio.run(lease.renewing(answer)(request))
    assert response.error_code == code


def test_a_lease_counts_from_when_it_was_asked_for(clock: SimpleNamespace) -> None:
    lease = Lease(10)
    assert not lease.held
    ask(lease, SYNC, clock, takes=4)
    assert lease.held
    clock.now += 5.9
    assert lease.held
    clock.now += 0.2
    assert not lease.held
    ask(lease, HEARTBEAT, clock)
    assert lease.held


def test_it_never_gets_shorter(clock: SimpleNamespace) -> None:
    lease = Lease(10)
    lease.renew(clock.now)
    lease.renew(clock.now - 5)
    clock.now += 9
    assert lease.held


def test_a_heartbeat_in_a_rebalance_and_a_join_grant_nothing(clock: SimpleNamespace) -> None:
    assert for_code(REBALANCE).__name__ == "RebalanceInProgressError"
    lease = Lease(10)
    ask(lease, HEARTBEAT, clock, code=REBALANCE)
    ask(lease, JOIN, clock)
    assert not lease.held


@pytest.mark.parametrize("request_", [JOIN, LEAVE])
def test_whoever_joins_anew_or_leaves_has_no_lease_any_more(clock: SimpleNamespace, request_: Any) -> None:
    lease = Lease(10)
    ask(lease, SYNC, clock)
    ask(lease, request_, clock)
    assert not lease.held
    ask(lease, SYNC, clock)
    assert lease.held


def test_a_produce_request_waits_for_the_lease_and_no_other_does(clock: SimpleNamespace) -> None:
    sent: list[Any] = []

    async def send(node: Any, request: Any, **options: Any) -> str:
        sent.append((node, request, options))
        return "answer"

    async def run() -> None:
        lease = Lease(10)
        send_when_held = lease.holding_back(send)
        produce = ProduceRequest(None, -1, 1000, [])
        waiting = asyncio.ensure_future(send_when_held(1, produce, group=2))
        assert await send_when_held(1, HEARTBEAT) == "answer"
        await asyncio.sleep(3 * module.PAUSE)
        assert sent == [(1, HEARTBEAT, {})]
        assert lease.missed
        lease.renew(clock.now)
        assert await waiting == "answer"
        assert not lease.missed
        assert [type(request) for _, request, _ in sent[1:]] == [MetadataRequest, ProduceRequest]
        assert sent[-1] == (1, produce, {"group": 2})

    asyncio.run(run())


def test_a_broker_answers_first_after_each_rebalance(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frozen broker may hold what the old owner wrote; by the time it answers, and a moment later, it has read that."""
    monkeypatch.setattr(module, "LEAST_SETTLING", 0.01)
    thawed = asyncio.Event()
    sent: list[tuple[int, type]] = []

    async def send(node: int, request: Any, **options: Any) -> None:
        sent.append((node, type(request)))
        if isinstance(request, MetadataRequest) and node == 1:
            await thawed.wait()

    async def grant(request: Any) -> Any:
        return SimpleNamespace(error_code=0)

    async def run() -> None:
        lease = Lease(10)
        produce, ask = lease.holding_back(send), lease.renewing(grant)
        await ask(SYNC)
        first = [asyncio.ensure_future(produce(1, ProduceRequest(None, -1, 1000, []))) for _ in range(2)]
        await produce(2, ProduceRequest(None, -1, 1000, []))  # the other broker is not waited for
        await asyncio.sleep(0.05)
        assert sorted(sent, key=str) == [(1, MetadataRequest), (2, MetadataRequest), (2, ProduceRequest)]
        thawed.set()
        await asyncio.gather(*first)
        await produce(1, ProduceRequest(None, -1, 1000, []))
        assert sent[3:] == [(1, ProduceRequest)] * 3
        await ask(JOIN)
        await ask(SYNC)
        await produce(1, ProduceRequest(None, -1, 1000, []))
        assert sent[6:] == [(1, MetadataRequest), (1, ProduceRequest)]

    asyncio.run(run())


def test_without_a_lease_no_produce_request_is_written_and_everything_else_is(clock: SimpleNamespace) -> None:
    lease, written = Lease(10), []
    write = lease.guarding(written.append)
    write(METADATA)
    with pytest.raises(ConnectionError):
        write(PRODUCE)
    lease.renew(clock.now)
    write(PRODUCE)
    clock.now += 10
    with pytest.raises(ConnectionError):
        write(PRODUCE)
    assert written == [METADATA, PRODUCE]
