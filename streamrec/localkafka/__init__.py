"""A real Apache Kafka on this machine, one node or several, for the demo, the tests and the chaos run."""

from streamrec.localkafka.cluster import LocalKafka
from streamrec.localkafka.security import Security

__all__ = ["LocalKafka", "Security"]
