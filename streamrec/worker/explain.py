"""The explain role: for each recommendation its reasons in words, from what the record carries and the catalogue it names."""

from collections.abc import AsyncIterator

from streamrec.core.errors import InvalidRecord
from streamrec.core.metrics import EXPLANATIONS
from streamrec.core.pipeline import Pipeline
from streamrec.core.types import Recommendation
from streamrec.core.wire import decode, format_of
from streamrec.worker.acks import Delivery
from streamrec.worker.follower import Follower
from streamrec.worker.metrics import Metrics
from streamrec.worker.output import Output


class ExplainRole:
    """What happens to each record of ``recommendations``."""

    def __init__(self, pipeline: Pipeline, output: Output, follower: Follower, metrics: Metrics) -> None:
        self._pipeline = pipeline
        self._output = output
        self._follower = follower
        self._metrics = metrics

    async def run(self, deliveries: AsyncIterator[Delivery]) -> None:
        await self._follower.caught_up.wait()
        async for delivery in deliveries:
            if delivery.record.value is None:  # the user was erased
                delivery.done(await self._output.tombstone("explanations", delivery.record))
            else:
                await self._explain(delivery)

    async def _explain(self, delivery: Delivery) -> None:
        record = delivery.record
        try:
            recommendation = decode(Recommendation, record.value, format_of(record.headers))
            await self._follower.reached(recommendation.versions.catalogue)
        except InvalidRecord as fault:
            if not delivery.dropped:
                delivery.done(await self._output.dead_letter(record, fault))
            return
        self._output.readable()
        if delivery.dropped:  # its partition went elsewhere while the catalogue was waited for
            return
        explanation = self._pipeline.explain(recommendation, self._follower.catalogue)
        self._metrics[EXPLANATIONS].inc()
        delivery.done(await self._output.message("explanations", recommendation.user_id, explanation, record.partition))
