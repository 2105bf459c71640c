"""From an event log to a bundle. The only room that knows torch."""

import os

# In bfloat16 oneDNN keeps a compiled kernel, nearly a megabyte, for each number of rows that a batch ever had, and torch another
# cache over it. Both must be bounded, and before torch is imported; a kernel that is made again costs a millisecond.
for _cache in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
    os.environ.setdefault(_cache, "128")
