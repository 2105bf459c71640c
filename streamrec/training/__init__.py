"""From an event log to a bundle. Only this room knows torch, and nothing but the command line imports it."""
