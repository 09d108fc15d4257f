"""Settings that all tests share."""

import os

from hypothesis import settings

# One thread a process: the tests run in parallel processes, and their tensors are small. Read when torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples in every run, however slow the machine.
settings.register_profile("book", max_examples=15, deadline=None, derandomize=True, database=None)
settings.load_profile("book")
