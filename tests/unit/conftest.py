"""Laws are tried on the same examples each time, and against no clock: what fails here fails everywhere."""

from hypothesis import settings

settings.register_profile("unit", deadline=None, max_examples=1500, derandomize=False, database=None)
settings.load_profile("unit")
