"""Event logs as files: data set folders and log files. It knows no Kafka client and no model."""
