"""Everything going wrong, on purpose: real brokers, real worker processes, real load, and faults drawn from a seed.

``python -m chaos --seed 1 --minutes 5`` (``make chaos``). It is a room of its own beside ``benchmarks``, not a test: people run it
for its report. Deciding is pure (`schedule`, `load.sendings`, `verdict`), doing is at the edge (`faults`, `fleet`, `watch`).
"""
