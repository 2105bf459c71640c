"""streamrec: Kafka events in, recommendations and explanations out."""

__version__ = "0.1.0"
