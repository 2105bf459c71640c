"""Offsets that the coordinator cannot tell yet are not taken for none.

The fault (aiokafka 0.14): it asks with OffsetFetch version 3, whose answer has the group's errors above the topics, and looks only
at those of partitions. A coordinator that has just taken the group over and still loads it, or that gave it away, answers with an
error and no topics; so nothing seems to have been committed, and everything that the topics hold is done once more.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from aiokafka.errors import NotCoordinatorForGroupError, for_code
from aiokafka.protocol.commit import OffsetFetchRequest

log = structlog.get_logger(__name__)


def telling_errors(coordinator: Any) -> Callable[[Any], Awaitable[Any]]:
    """The coordinator's way to send requests, which raises such an error: the one who asked waits a moment and asks again."""
    ask = coordinator._send_req

    async def ask_and_look(request: Any) -> Any:
        response = await ask(request)
        if isinstance(request, OffsetFetchRequest) and (code := getattr(response, "error_code", 0)):
            error: type[Exception] = for_code(code)
            log.info(
                "the coordinator cannot tell yet what was committed: asking again", group=coordinator.group_id, error=error.__name__
            )
            if error is NotCoordinatorForGroupError:
                coordinator.coordinator_dead()
            raise error(f"the committed offsets of {coordinator.group_id}")
        return response

    return ask_and_look
