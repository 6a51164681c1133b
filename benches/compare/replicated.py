"""Three brokers of each kind, three replicas, acks=all: what a record costs all of them together, and how long it takes. It must not
know how brokers are started."""

import load
from brokers import Peak

PARTITIONS = (1, 16, 100)
# Of what the slower of the two reaches.
SHARES = (0.1, 0.5, 0.75)
RECORD_BYTES = 1024
BATCHED = ["acks=all", "batch.size=131072", "linger.ms=1"]
AT_ONCE = ["acks=all", "linger.ms=0"]
AT_ONCE_RATE = 20_000
AT_ONCE_PARTITIONS = 16


class Rows:
    """Pairs of figures by name, in the order of the clusters."""

    def __init__(self):
        self.pairs = {}

    def add(self, name, figures):
        self.pairs.setdefault(name, []).append(figures)


def run(options, clusters, results, say, between):
    say(f"clusters of three: {[f'{cluster.name} {cluster.start():.2f} s' for cluster in clusters]}")
    for cluster in clusters:
        load.create_topic(cluster, "warm", 16, replicas=3)
        warm = max(int(options.warm_gib * (1 << 30) / RECORD_BYTES), 1)
        load.produce(cluster, "warm", warm, RECORD_BYTES, 131072, linger_ms=1)
        say(f"{cluster.name}: warm")
    deleted(clusters, "warm", between)
    rows = Rows()
    for pair in range(options.many_pairs):
        for partitions in PARTITIONS:
            name = f"replicated-{partitions}-{pair}"
            for cluster in clusters:
                load.create_topic(cluster, name, partitions, replicas=3)
            lower = min(as_fast_as_it_goes(options, clusters, (name, partitions), rows, say))
            for share in SHARES:
                rate = int(lower * share)
                at = f"RF3, {partitions} partitions, {100 * share:g} % of the lower maximum"
                paced(options, clusters, (name, rate, BATCHED), (at, rows), say)
            deleted(clusters, name, between)
        name = f"at-once-{pair}"
        for cluster in clusters:
            load.create_topic(cluster, name, AT_ONCE_PARTITIONS, replicas=3)
        paced(options, clusters, (name, AT_ONCE_RATE, AT_ONCE), (f"RF3, linger 0, {AT_ONCE_RATE:,} records/s", rows), say)
        deleted(clusters, name, between)
    for cluster in clusters:
        cluster.stop()
    tell(rows, results)


def deleted(clusters, topic, between):
    """The disk has room for a few topics only."""
    for cluster in clusters:
        load.delete_topic(cluster, topic)
    between()


def as_fast_as_it_goes(options, clusters, topic, rows, say):
    """The records a second of each cluster."""
    name, partitions = topic
    records = int(options.replicated_gib * (1 << 30) / RECORD_BYTES)
    figures = []
    for cluster in clusters:
        before = cluster.cpu_seconds()
        with Peak(cluster) as peak:
            rate = load.produce(cluster, name, records, RECORD_BYTES, 131072, linger_ms=1, warm_up=records // 5)
        cpu = (cluster.cpu_seconds() - before) / (records * RECORD_BYTES / 1e9)
        say(f"{cluster.name}: {partitions} partitions: {cpu:.2f} CPU s/GB, {rate:.0f} records/s, {peak.mib:.0f} MiB")
        figures.append((cpu, rate, peak.mib))
    for what, column in zip(("CPU of all brokers", "throughput", "anonymous memory, peak"), zip(*figures)):
        rows.add(f"RF3, {partitions} partitions: {what}", list(column))
    return [rate for _, rate, _ in figures]


def paced(options, clusters, asked, told, say):
    (topic, rate, settings), (at, rows) = asked, told
    warm_up, records = rate * options.replicated_seconds // 3, rate * options.replicated_seconds
    figures = []
    for cluster in clusters:
        run = load.paced(cluster, topic, records, RECORD_BYTES, rate, warm_up, settings)
        micros = run.cpu_seconds * 1e6 / (records - warm_up)
        say(f"{cluster.name}: {at}: {rate}/s asked, {run.figures}, {micros:.1f} CPU us a record")
        figures.append((run["p50_us"] / 1000, run["p99_us"] / 1000, micros, run["rate"]))
    for what, column in zip(("p50", "p99", "CPU of all brokers", "rate"), zip(*figures)):
        rows.add(f"{at}: {what}", list(column))


# What is wanted of Cairn's figure as a part of Kafka's, by the end of a row's name.
TARGETS = {
    "CPU of all brokers": ("s/GB", {"most": 1 / 12}),
    "throughput": ("records/s", {"least": 2}),
    "anonymous memory, peak": ("MiB", {"most": 1 / 15}),
    "p50": ("ms", {"most": 1 / 2}),
    "p99": ("ms", {"most": 1 / 2}),
}
TARGETS_AT_ONCE = {
    "CPU of all brokers": ("us/record", {"most": 1 / 3}),
    "rate": ("records/s", {"least": 1}),
    "p99": ("ms", {"most": 1 / 10}),
}


def tell(rows, results):
    for name, pairs in rows.pairs.items():
        what = name.rpartition(": ")[2]
        targets = TARGETS_AT_ONCE if "linger 0" in name else TARGETS
        is_paced = "maximum" in name
        if what in targets and not (is_paced and what.startswith("CPU")):
            unit, target = targets[what]
            results.add(name, unit, pairs, **target)
