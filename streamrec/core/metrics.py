"""Every metric, in one place: its name, kind, labels and meaning. What counts them is the shell's business.

Labels never hold a user or an item. Times are in seconds.
"""

from collections.abc import Collection
from typing import Literal, NamedTuple

from streamrec.core.errors import REASONS
from streamrec.core.generate import NOTHING
from streamrec.core.session import Outcome
from streamrec.core.wire import EVENT_TYPES

ROLES = ("sessions", "recommend", "explain")
RUNGS = ("gptrec", "transitions", "popularity", NOTHING.source)
READ = (*EVENT_TYPES, "items", "sessions", "recommendations")  # the topics that some role reads


class Metric(NamedTuple):
    """One metric, as Prometheus knows it.

    ``known`` has the values of each label. A counter that has them exists, at 0, before its first event:
    Prometheus sees no increase in a series that begins with that event.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    meaning: str
    known: tuple[Collection[str], ...] = ()


EVENTS = Metric(
    "streamrec_events_total",
    "counter",
    ("topic", "outcome"),
    "Events taken in, by what became of them.",
    (EVENT_TYPES, tuple(Outcome)),
)
DEAD_LETTERS = Metric(
    "streamrec_dead_letters_total",
    "counter",
    ("topic", "reason"),
    "Unreadable records, kept in dead-letters.",
    (READ, REASONS),
)
MISROUTED_EVENTS = Metric(
    "streamrec_misrouted_total",
    "counter",
    ("topic",),
    "Events in a wrong partition, sent on to their right one.",
    (EVENT_TYPES,),
)
ANOTHER_LOG = Metric(
    "streamrec_another_log_total",
    "counter",
    ("topic",),
    "Events taken in from a topic whose offsets have begun again.",
    (EVENT_TYPES,),
)
RECOMMENDATIONS = Metric(
    "streamrec_recommendations_total",
    "counter",
    ("source",),
    "Recommendations sent, by the rung that proposed.",
    (RUNGS,),
)
SUPERSEDED = Metric(
    "streamrec_superseded_total", "counter", (), "Sessions not recommended for: a newer one of the same user was waiting."
)
EXPLANATIONS = Metric("streamrec_explanations_total", "counter", (), "Explanations sent.")
BATCH_SIZE = Metric("streamrec_batch_size", "histogram", (), "Sessions in one run of the model.")
INFERENCE_SECONDS = Metric("streamrec_inference_seconds", "histogram", (), "Time from a batch of sessions to its recommendations.")
CATALOGUE_VERSION = Metric("streamrec_catalogue_version", "gauge", (), "How far into the topic items this process has read.")
LOST_RECORDS = Metric(
    "streamrec_lost_records_total",
    "counter",
    ("topic",),
    "Records that the client skipped; the sentinel applied them.",
    (READ,),
)
VOID_COMMITS = Metric(
    "streamrec_void_commits_total",
    "counter",
    ("topic", "role"),
    "Partitions read from their first offset: their commit was void.",
    (READ, ROLES),
)
READY = Metric("streamrec_ready", "gauge", (), "1 where this process is ready, as /readyz says.")
MODEL_INFO = Metric("streamrec_model_info", "gauge", ("model", "runtime"), "1 for the bundle that is served.")

ALL = tuple(value for value in globals().values() if isinstance(value, Metric))
