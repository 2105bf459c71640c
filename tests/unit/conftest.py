"""Laws are tried on the same examples each time, and against no clock: what fails here fails everywhere."""

from hypothesis import settings

settings.register_profile("unit", deadline=None, max_examples=60, derandomize=True, database=None)
settings.load_profile("unit")
