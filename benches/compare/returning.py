"""A broker of three is killed, misses records, and comes back: how much longer do produces at acks=all take while it catches up, and how
long does that take? It must not know how brokers are started."""

import socket
import struct
import threading
import time

import load

RECORD_BYTES = 1024
PARTITIONS = 16
RATE = 5_000
BATCHED = ["acks=all", "batch.size=131072", "linger.ms=1"]
IN_SYNC_SECONDS_MAX = 300
LOOK_SECONDS = 0.2


def run(options, clusters, results, say):
    rows = {"p50": [], "p99": [], "seconds": []}
    for cluster in clusters:
        cluster.start()
        load.create_topic(cluster, "returning", PARTITIONS, replicas=3)
        load.produce(cluster, "returning", int(options.warm_gib * (1 << 30) / RECORD_BYTES), RECORD_BYTES, 131072, linger_ms=1)
    for _ in range(options.many_pairs):
        figures = [returned(options, cluster, say) for cluster in clusters]
        for name, column in zip(rows, zip(*figures)):
            rows[name].append(list(column))
    for cluster in clusters:
        cluster.stop()
    name = f"RF3, {RATE:,} records/s, a broker that missed {options.missed_gib:g} GiB is back"
    results.add(f"{name}: p50, as a part of before", "", rows["p50"])
    results.add(f"{name}: p99, as a part of before", "", rows["p99"], most_of_ours=2)
    results.add(f"{name}: in sync after", "s", rows["seconds"])


def returned(options, cluster, say):
    """p50 and p99 while a broker catches up, as parts of what they were before, and the seconds until it is in sync."""
    before = paced(cluster, options.replicated_seconds)
    away = cluster.brokers[-1]
    away.kill9()
    load.produce(cluster, "returning", int(options.missed_gib * (1 << 30) / RECORD_BYTES), RECORD_BYTES, 131072, linger_ms=1)
    watch = InSync(cluster.brokers[0].port, "returning")

    def come_back():
        away.launch()
        watch.start()

    during = paced(cluster, options.replicated_seconds, come_back)
    seconds = watch.seconds()
    say(f"{cluster.name}: before {before.figures}, during {during.figures}, in sync after {seconds:.1f} s")
    return [during[name] / before[name] for name in ("p50_us", "p99_us")] + [seconds]


def paced(cluster, seconds, at_begin=lambda: None):
    warm_up = RATE * 5
    return load.paced(cluster, "returning", warm_up + RATE * seconds, RECORD_BYTES, RATE, warm_up, BATCHED, at_begin)


class InSync:
    """Waits in a thread until all replicas of a topic's partitions are in sync."""

    def __init__(self, port, topic):
        self._port, self._topic = port, topic.encode()
        self._seconds = None
        self._thread = threading.Thread(target=self._watch)

    def start(self):
        self._thread.start()

    def seconds(self):
        self._thread.join()
        if self._seconds is None:
            raise RuntimeError(f"not in sync after {IN_SYNC_SECONDS_MAX} s")
        return self._seconds

    def _watch(self):
        began = time.monotonic()
        while time.monotonic() - began < IN_SYNC_SECONDS_MAX:
            time.sleep(LOOK_SECONDS)
            if all(len(isr) == len(replicas) for replicas, isr in replicas_of(self._port, self._topic)):
                self._seconds = time.monotonic() - began
                return


def replicas_of(port, topic):
    """Replicas and in-sync replicas of each partition, by a Metadata request of version 1."""
    body = struct.pack(">hhih7sih", 3, 1, 4711, 7, b"compare", 1, len(topic)) + topic
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(struct.pack(">i", len(body)) + body)
        stream = connection.makefile("rb")
        words = Words(stream.read(struct.unpack(">i", stream.read(4))[0]))
    words.take("i")
    for _ in range(words.take("i")):
        words.take("i"), words.text(), words.take("i"), words.text()
    words.take("i")
    found = []
    for _ in range(words.take("i")):
        words.take("h"), words.text(), words.take("b")
        for _ in range(words.take("i")):
            words.take("h"), words.take("i"), words.take("i")
            found.append((words.numbers(), words.numbers()))
    return found


class Words:
    """What an answer is made of, one after the other."""

    def __init__(self, answer):
        self._answer, self._at = answer, 0

    def take(self, kind):
        value, = struct.unpack_from(f">{kind}", self._answer, self._at)
        self._at += struct.calcsize(kind)
        return value

    def text(self):
        length = self.take("h")
        self._at += max(length, 0)

    def numbers(self):
        return [self.take("i") for _ in range(self.take("i"))]
