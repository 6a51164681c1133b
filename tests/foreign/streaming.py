"""What endless producers and consumers print, one event a line, for the history checker; they end when their input ends.

S NUMBER PARTITION TIME          a send begins            A NUMBER PARTITION OFFSET TIME    it is acknowledged
F NUMBER PARTITION TIME          it surely did not happen  I NUMBER PARTITION TIME          nobody knows
G PARTITION OFFSET TIME          reading begins at the committed offset (-1: none)
R PARTITION OFFSET TIME VALUE    a record was read         C PARTITION OFFSET TIME          a commit was acknowledged
E PARTITION OFFSET TIME          the partition's end, as the broker says
H PARTITION OFFSET TIME          the high watermark that came with what was read last

TIME is CLOCK_MONOTONIC in nanoseconds, which all processes of a machine share.
"""

import sys
import threading
import time

# A consumer is replaced by a new one this often, so that what it remembers cannot hide a loss.
SESSION_SECONDS = 7

# A producer that can asks this often, in acknowledgements, whether what was acknowledged may be read.
LOOK_EVERY = 20

_ended = threading.Event()
_told = threading.Event()
_print_lock = threading.Lock()


def _watch_input():
    for _ in sys.stdin:
        _told.set()
    _ended.set()
    _told.set()


def until_input_ends():
    """Begins to watch the input; before this the end is never seen."""
    threading.Thread(target=_watch_input, daemon=True).start()


def ended():
    return _ended.is_set()


def until_told():
    """Waits for a line of input, or its end."""
    _told.wait()


def _say(*words):
    line = " ".join(str(word) for word in words)
    with _print_lock:
        print(line, flush=False)


def value_of(producer, number):
    """The value of a number is as long as its number says, so that a torn or mixed value shows."""
    return f"{producer}-{number} ".encode() + b"%x" % (number * 2654435761 % 2**32) * (number % 37 + 1)


def acked(number, partition, offset):
    _say("A", number, partition, -1 if offset is None else offset, time.monotonic_ns())


def refused(number, partition, error):
    _say("F", number, partition, time.monotonic_ns())
    print(f"refused {number}: {error}", file=sys.stderr)


def unknown(number, partition, error):
    _say("I", number, partition, time.monotonic_ns())
    print(f"unknown {number}: {error}", file=sys.stderr)


def resumed(partition, offset):
    _say("G", partition, max(offset, -1), time.monotonic_ns())


def read(partition, offset, value):
    _say("R", partition, offset, time.monotonic_ns(), value.decode())


def committed(partition, offset):
    _say("C", partition, offset, time.monotonic_ns())


def end(partition, offset):
    _say("E", partition, offset, time.monotonic_ns())


def high_watermark(partition, offset):
    _say("H", partition, offset, time.monotonic_ns())


def persist(call, *errors):
    """Calls until it answers, or until nobody waits any more."""
    while True:
        try:
            return call()
        except errors:
            if ended():
                sys.stdout.flush()
                sys.exit(0)
            time.sleep(0.1)


def produce_steadily(producer, partitions, rate, send, idle):
    """Sends numbered values on a fixed schedule; while the broker is away the schedule goes on, and is caught up later."""
    began = time.monotonic()
    number = 0
    while not ended():
        if number > (time.monotonic() - began) * rate:
            idle()
            continue
        partition = number % partitions
        _say("S", number, partition, time.monotonic_ns())
        send(number, partition, value_of(producer, number))
        number += 1
