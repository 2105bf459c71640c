"""Faust's assignor, mended: topics that were given more partitions later stay together with their table.

The fault (faust-streaming 0.15.3): topics are co-partitioned where they have the same number of partitions. When `clicks` gets 24
partitions beside 12 of `listens` and of the table's changelog, the partition 3 of `clicks` may go to another worker than the
table's partition 3.

Here all topics of an app with a table are assigned by the changelog's number of partitions. What a topic has beyond that goes to
the worker that has the partition's number modulo the changelog's.
"""

from collections.abc import Mapping, MutableMapping
from typing import Any

from faust.assignor.partition_assignor import PartitionAssignor as FaustAssignor


class PartitionAssignor(FaustAssignor):
    """The setting ``PartitionAssignor=``; for apps with tables, for Faust uses another one without."""

    def _get_copartitioned_groups(self, topics: set[str], cluster: Any, subscriptions: MutableMapping[str, list[str]]) -> Any:  # type: ignore[override]
        self._counts = {topic: len(cluster.partitions_for_topic(topic) or ()) for topic in topics}
        groups: Any = super()._get_copartitioned_groups(topics, cluster, subscriptions)
        home = self._home
        if home is None or set(groups) <= {home}:
            return groups
        together = {topic for count, grouped in groups.items() if count >= home for each in grouped for topic in each}
        fewer = {count: grouped for count, grouped in groups.items() if count < home}
        return fewer | {home: self._group_co_subscribed(together, subscriptions)}

    def _global_table_standby_assignments(self, assignments: Any, partitions_by_topic: Mapping[str, int]) -> Any:
        home = self._home
        for assignment in assignments.values():
            for topic, partitions in assignment.actives.items():
                count = self._counts.get(topic, 0)
                if home is not None and count > home:
                    partitions += [more for number in sorted(partitions) for more in range(number + home, count, home)]
        return super()._global_table_standby_assignments(assignments, partitions_by_topic)

    def _get_client_metadata(self, metadata: Any) -> Any:  # type: ignore[override]
        """What a member had, without the partitions beyond the changelog's: those follow the others."""
        had = super()._get_client_metadata(metadata)
        homes = {number for topic in self._table_manager.changelog_topics for number in had.assignment.actives.get(topic, ())}
        if homes:
            for topic, partitions in had.assignment.actives.items():
                had.assignment.actives[topic] = [number for number in partitions if number in homes]
        return had

    @property
    def _home(self) -> int | None:
        """The partitions of the changelog."""
        counts: list[int] = [self._counts.get(topic, 0) for topic in self._table_manager.changelog_topics]
        return min(counts, default=0) or None
