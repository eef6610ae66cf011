"""Breaks the product on purpose, in every way that is known, and compares what it has stored with the truth.

`make faults MINUTES=5 SEED=...` runs real daemons and syncs against a real Postgres and the simulated AWS.
"""
