"""Stops and starts the server that `world["restarted"]` describes."""

import socket

# The server may take its time to end, and to come up.
PATIENCE_SECS = 60


def control(world, word):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE_SECS)
        connection.connect(world["control"])
        connection.sendall(f"{word}\n".encode())
        with connection.makefile() as answer:
            told = answer.readline().strip()
    assert told == "ok", told
