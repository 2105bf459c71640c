"""The pure core: what is recommended, and why. It knows no Kafka, no torch, no clock, no randomness and no I/O."""
