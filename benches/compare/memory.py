"""Memory that costs the same to whoever takes it next. It must not know what takes it.

A virtual machine may hand its free memory back to its host (free page reporting), and gets it again page by page, at 1 to 3 processor
seconds a GB, counted to whoever touches a page first. Both brokers pay that for each byte of page cache, and it hides what they do
themselves. So before anything is measured a file fills what is free, and is cut a little ahead of what is wanted: what it gives was
touched a moment ago, in large pieces, and nobody has to reclaim it.
"""

import os
import pathlib
import shutil
import threading

MIB = 1 << 20
# Filled until so little is left, and from then on kept above that.
FILLED_BYTES, FREE_BYTES = 384 * MIB, 1024 * MIB
# The largest folio, and what the file is cut by.
PIECE, STEP_BYTES = bytes(2 * MIB), 64 * MIB
LOOK_SECONDS = 0.003


def free_bytes():
    for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemFree:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no MemFree in /proc/meminfo")


class Filled:
    """A file in `folder` of up to `most` bytes, and of no more than half of the disk's free space, in the page cache."""

    def __init__(self, folder, most):
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "page-cache"
        self._most = min(most, shutil.disk_usage(folder).free // 2)
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._give_out, daemon=True)

    def __enter__(self):
        self._file = os.open(self._path, os.O_CREAT | os.O_RDWR)
        self._size = 0
        self.again()
        self._thread.start()
        return self

    def again(self):
        """Fills what has become free since."""
        with self._lock:
            while self._size < self._most and free_bytes() > FILLED_BYTES:
                self._size += os.pwrite(self._file, PIECE, self._size)
            os.fsync(self._file)

    def _give_out(self):
        while not self._done.wait(LOOK_SECONDS):
            with self._lock:
                if self._size > 0 and free_bytes() < FREE_BYTES:
                    self._size = max(self._size - STEP_BYTES, 0)
                    os.ftruncate(self._file, self._size)

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()
        os.close(self._file)
        self._path.unlink()
