"""The kinds of faults by name: each does something bad to a deployment, mends what nobody else would, and returns.

What follows (starting workers again, recovering) is the deployment's own business, and is what is measured. Adding a kind is adding
a function.
"""

from chaos import broker_faults, log_faults, worker_faults
from chaos.deployment import Kind

_ALL = (*worker_faults.KINDS, *broker_faults.KINDS, *log_faults.KINDS)
KINDS: dict[str, Kind] = {each.__name__.replace("_", "-"): each for each in _ALL}
MOVES_OFFSETS = log_faults.MOVES_OFFSETS
