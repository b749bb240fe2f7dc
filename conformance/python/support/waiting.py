"""Waiting for something to become so, never for a time to pass."""

import time

# Longer than anything here takes, shorter than the runner's patience.
LIMIT_SECS = 30


def eventually(look, what, limit_secs=LIMIT_SECS):
    """The first true answer of `look`."""
    until = time.monotonic() + limit_secs
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < until, f"not within {limit_secs} s: {what}"
        time.sleep(0.02)
