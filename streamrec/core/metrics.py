"""Every metric, in one place: its name, kind, labels and meaning. What counts them is the shell's business.

Labels never hold a user or an item. Times are in seconds.
"""

from typing import Literal, NamedTuple


class Metric(NamedTuple):
    """One metric, as Prometheus knows it."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    meaning: str


EVENTS = Metric("streamrec_events_total", "counter", ("topic", "outcome"), "Events taken in, by what became of them.")
DEAD_LETTERS = Metric("streamrec_dead_letters_total", "counter", ("topic", "reason"), "Unreadable records, kept in dead-letters.")
MISROUTED_EVENTS = Metric(
    "streamrec_misrouted_total", "counter", ("topic",), "Events in a wrong partition, sent on to their right one."
)
ANOTHER_LOG = Metric(
    "streamrec_another_log_total", "counter", ("topic",), "Events taken in from a topic whose offsets have begun again."
)
RECOMMENDATIONS = Metric(
    "streamrec_recommendations_total", "counter", ("source",), "Recommendations sent, by the rung that proposed."
)
SUPERSEDED = Metric(
    "streamrec_superseded_total", "counter", (), "Sessions not recommended for: a newer one of the same user was waiting."
)
EXPLANATIONS = Metric("streamrec_explanations_total", "counter", (), "Explanations sent.")
BATCH_SIZE = Metric("streamrec_batch_size", "histogram", (), "Sessions in one run of the model.")
INFERENCE_SECONDS = Metric("streamrec_inference_seconds", "histogram", (), "Time from a batch of sessions to its recommendations.")
CATALOGUE_VERSION = Metric("streamrec_catalogue_version", "gauge", (), "How far into the topic items this process has read.")
LOST_RECORDS = Metric(
    "streamrec_lost_records_total", "counter", ("topic",), "Records that the client skipped; the sentinel applied them."
)
VOID_COMMITS = Metric(
    "streamrec_void_commits_total", "counter", ("topic", "role"), "Partitions read from their first offset: their commit was void."
)
READY = Metric("streamrec_ready", "gauge", (), "1 where this process is ready, as /readyz says.")
MODEL_INFO = Metric("streamrec_model_info", "gauge", ("model", "runtime"), "1 for the bundle that is served.")

ALL = tuple(value for value in globals().values() if isinstance(value, Metric))
