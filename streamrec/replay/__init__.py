"""The second shell: a log in, the same records out that the worker emits for it."""
