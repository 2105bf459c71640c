"""The main job for a newcomer's eyes: a Kafka, a worker, real listens, and what is recommended for them."""
