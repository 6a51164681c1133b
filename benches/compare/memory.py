"""Free memory that costs the same to whoever takes it next. It must not know what takes it.

A virtual machine may hand its free memory back to its host (free page reporting), and gets it again page by page, at 1 to 3 processor
seconds a GB, counted to whoever touches a page first. Both brokers pay that for each byte of page cache, and it hides what they do
themselves. So this process takes the free memory before anything is measured, and gives it out a little ahead of its use.
"""

import mmap
import pathlib
import threading

MIB = 1 << 20
# Free memory is kept above this, in steps of that.
FREE_BYTES = 400 * MIB
STEP_BYTES = 64 * MIB
LOOK_SECONDS = 0.003


def free_bytes():
    for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemFree:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no MemFree in /proc/meminfo")


class Held:
    """Holds what is free, up to `most` bytes, while a block runs, and gives it out as it is wanted."""

    def __init__(self, most):
        self._bytes = max(min(most, free_bytes() - FREE_BYTES), 0) // STEP_BYTES * STEP_BYTES
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._give_out, daemon=True)

    def __enter__(self):
        if self._bytes:
            self._memory = mmap.mmap(-1, self._bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            self._memory.madvise(mmap.MADV_NOHUGEPAGE)
            for at in range(0, self._bytes, STEP_BYTES):
                self._memory[at:at + STEP_BYTES] = bytes(STEP_BYTES)
            self._thread.start()
        return self

    def _give_out(self):
        at = 0
        while at < self._bytes and not self._done.wait(LOOK_SECONDS):
            if free_bytes() < FREE_BYTES:
                self._memory.madvise(mmap.MADV_DONTNEED, at, STEP_BYTES)
                at += STEP_BYTES

    def __exit__(self, *_):
        if self._bytes:
            self._done.set()
            self._thread.join()
            self._memory.close()
