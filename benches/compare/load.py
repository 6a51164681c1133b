"""The load: Apache Kafka's own clients in a JVM of their own, and for what they cannot do `benches/src/bin/load`. It must not know
which broker it meets."""

import pathlib
import re
import subprocess

from brokers import KAFKA

HERE = pathlib.Path(__file__).resolve().parent


def java(*args):
    """Runs Kafka's clients with these arguments, returns what they print."""
    done = subprocess.run([KAFKA, "perf", *map(str, args)], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{args}: {done.stdout[-500:]} {done.stderr[-1500:]}")
    return done.stdout


def create_topic(broker, topic, partitions, replicas=1):
    subprocess.run(
        [KAFKA, "tool", "org.apache.kafka.tools.TopicCommand", "--bootstrap-server", broker.bootstrap,
         "--create", "--topic", topic, "--partitions", str(partitions), "--replication-factor", str(replicas)],
        check=True, capture_output=True)


def delete_topic(broker, topic):
    subprocess.run(
        [KAFKA, "tool", "org.apache.kafka.tools.TopicCommand", "--bootstrap-server", broker.bootstrap, "--delete", "--topic", topic],
        check=True, capture_output=True)


def produce(broker, topic, records, record_bytes, batch_bytes, linger_ms, clients=1, warm_up=0):
    """Records a second of all clients together; each sends `records`, of which the first `warm_up` are not counted."""
    args = ["produce", clients, "--bootstrap-server", broker.bootstrap, "--topic", topic]
    args += ["--num-records", records, "--record-size", record_bytes, "--throughput", -1]
    if warm_up:
        args += ["--warmup-records", warm_up]
    args += ["--command-property", f"batch.size={batch_bytes}", f"linger.ms={linger_ms}", "acks=all"]
    printed = java(HERE / "Load.java", *args)
    # With a warm-up the tool closes with two lines, and the second counts what came after it.
    totals = [line for line in printed.splitlines() if "99.9th" in line]
    if warm_up:
        totals = [line for line in totals if "steady state" in line]
    rates = [float(re.search(r"([\d.]+) records/sec", line)[1]) for line in totals]
    if len(rates) != clients:
        raise RuntimeError(f"{len(rates)} results of {clients} producers: {printed[-800:]}")
    return sum(rates)


def consume(broker, topic, partitions, records):
    """Records a second of one consumer that reads from the beginning."""
    printed = java(HERE / "Load.java", "consume", broker.bootstrap, topic, partitions, records)
    found = re.search(r"consumed (\d+) records, \d+ bytes, ([\d.]+) s", printed)
    return int(found[1]) / float(found[2])


class Counted:
    """What the load of our own has printed, and the broker's processor time while it measured."""

    def __init__(self, figures, cpu_seconds):
        self.figures = figures
        self.cpu_seconds = cpu_seconds

    def __getitem__(self, name):
        return self.figures[name]


def own(binary, broker, *args):
    """Runs the load of our own."""
    return counted(broker, [binary, "--bootstrap", broker.bootstrap, *args])


def paced(broker, topic, records, record_bytes, rate, warm_up, settings, at_begin=lambda: None):
    """One of Kafka's producers, which sends `rate` records a second at the times that are due; see Load.java. `at_begin` is called where
    it begins to measure."""
    wanted = ["paced", broker.bootstrap, topic, records, record_bytes, rate, warm_up, *settings]
    return counted(broker, [KAFKA, "perf", HERE / "Load.java", *wanted], at_begin)


def counted(broker, args, at_begin=lambda: None):
    """Runs a load. The processor time counts from its line `measuring` to its line `measured`, or all of it."""
    began, ended, figures = broker.cpu_seconds(), None, {}
    process = subprocess.Popen([*map(str, args)], stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.strip() == "measuring":
            began = broker.cpu_seconds()
            at_begin()
        elif line.strip() == "measured":
            ended = broker.cpu_seconds()
        else:
            figures |= {name: float(value) for name, value in (word.split("=") for word in line.split())}
    if process.wait() != 0:
        raise RuntimeError(f"{args}: the load ended with {process.returncode}")
    return Counted(figures, (broker.cpu_seconds() if ended is None else ended) - began)
