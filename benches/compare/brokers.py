"""Both brokers as processes, alone and as a cluster of three: start, stop, kill, and what they cost. It must not know what load they
carry."""

import os
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
KAFKA = ROOT / "tests/peers/kafka"
START_SECONDS_MAX = 300
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def first_metadata(port, process, began, brokers=0):
    """Seconds from `began` until a Metadata request on a fresh connection is answered, with so many brokers or more."""
    # Size, api key 3, version 1, correlation id, client id, and an empty list of topics: which brokers are there.
    body = struct.pack(">hhih7si", 3, 1, 4711, 7, b"compare", 0)
    while time.monotonic() - began < START_SECONDS_MAX:
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"the broker ended with {process.returncode}")
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(struct.pack(">i", len(body)) + body)
                answer = connection.makefile("rb").read(12)
                if len(answer) == 12 and (words := struct.unpack(">iii", answer))[1] == 4711 and words[2] >= brokers:
                    return time.monotonic() - began
        except OSError:
            pass
        time.sleep(0.001)
    raise RuntimeError(f"no answer on port {port}")


class Broker:
    """A broker with its data in a folder of its own. Subclasses say how its process starts."""

    name = ""

    def __init__(self, folder, port, settings=()):
        self.folder = pathlib.Path(folder)
        self.port = port
        self.settings = list(settings)
        self.process = None
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.prepare()

    @property
    def bootstrap(self):
        return f"127.0.0.1:{self.port}"

    def prepare(self):
        pass

    def command(self):
        raise NotImplementedError

    def start(self):
        """Seconds from the start of the process to the first answered Metadata."""
        began = time.monotonic()
        self.launch()
        return first_metadata(self.port, self.process, began)

    def launch(self):
        with open(self.folder / "broker.log", "ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, start_new_session=True)

    def kill9(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill9()

    def remove(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def empty(self):
        """Begins anew with no data."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.prepare()

    def cpu_seconds(self):
        # Fields 14 and 15 of stat(5), counted behind the name in parentheses.
        text = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text()
        fields = text.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND

    def anonymous_mib(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Anonymous:"):
                return int(line.split()[1]) / 1024
        raise RuntimeError("no anonymous memory in smaps_rollup")


class Cairn(Broker):
    name = "Cairn"

    def __init__(self, binary, *args):
        self.binary = binary
        super().__init__(*args)

    def command(self):
        command = [self.binary, "broker", "--data", str(self.folder / "data"), "--listen", self.bootstrap]
        for setting in self.settings:
            command += ["--set", setting]
        return command

    def syncs(self):
        """How many syncs of a partition there were, and the seconds that they took, from its own metrics."""
        address = re.findall(r"^ready: .*metrics=(\S+)", (self.folder / "broker.log").read_text(), re.MULTILINE)[-1]
        with urllib.request.urlopen(f"http://{address}/metrics") as answer:
            text = answer.read().decode()
        return [float(re.search(rf"^cairn_sync_time_seconds_{what} (\S+)", text, re.MULTILINE)[1]) for what in ("count", "sum")]


class ApacheKafka(Broker):
    name = "Apache Kafka"

    def prepare(self):
        # The script writes the properties and formats the data folder by starting once; from then on its command is started here,
        # so that both brokers are started and measured in the same way.
        environment = dict(os.environ, KAFKA_PROPS=" ".join(self.settings))
        subprocess.run([KAFKA, "start", self.folder / "kafka", str(self.port)], env=environment, check=True, capture_output=True)
        subprocess.run([KAFKA, "stop", self.folder / "kafka"], check=True)

    def command(self):
        return [str(KAFKA), "serve", str(self.folder / "kafka")]


class CairnMember(Cairn):
    """One of several brokers, which join the first of them."""

    def __init__(self, *args, node, first):
        self.member = ["--node-id", str(node)]
        super().__init__(*args)
        if first != self.port:
            self.member += ["--join", f"127.0.0.1:{first}"]

    def command(self):
        return super().command() + self.member


class ApacheKafkaMember(ApacheKafka):
    """One of several brokers, each of which is a controller as well."""

    def __init__(self, *args, node, cluster, voters):
        self.member = [str(node), cluster, voters]
        super().__init__(*args)

    def prepare(self):
        environment = dict(os.environ, KAFKA_PROPS=" ".join(self.settings))
        node, *others = self.member
        subprocess.run([KAFKA, "member", self.folder / "kafka", node, str(self.port), *others],
                       env=environment, check=True, capture_output=True)


class Cluster:
    """Three brokers as if they were one: what they cost, they cost together."""

    SIZE = 3

    def __init__(self, brokers):
        self.brokers = brokers
        self.name = brokers[0].name

    @classmethod
    def of_cairn(cls, binary, folder, port):
        ports = range(port, port + cls.SIZE)
        return cls([CairnMember(binary, folder / str(at), at, node=node, first=port) for node, at in enumerate(ports, 1)])

    @classmethod
    def of_kafka(cls, folder, port):
        ports = range(port, port + cls.SIZE)
        voters = ",".join(f"{node}@127.0.0.1:{at + cls.SIZE}" for node, at in enumerate(ports, 1))
        cluster = "compareCompareCompareQ"
        return cls([ApacheKafkaMember(folder / str(at), at, node=node, cluster=cluster, voters=voters)
                    for node, at in enumerate(ports, 1)])

    @property
    def bootstrap(self):
        return ",".join(broker.bootstrap for broker in self.brokers)

    def start(self):
        """Seconds from the start of the processes until each of them knows all of them."""
        began = time.monotonic()
        for broker in self.brokers:
            broker.launch()
        return max(first_metadata(broker.port, broker.process, began, self.SIZE) for broker in self.brokers)

    def stop(self):
        for broker in self.brokers:
            broker.stop()

    def remove(self):
        for broker in self.brokers:
            broker.remove()

    def cpu_seconds(self):
        return sum(broker.cpu_seconds() for broker in self.brokers if broker.process.poll() is None)

    def anonymous_mib(self):
        return sum(broker.anonymous_mib() for broker in self.brokers)


class Peak:
    """The highest anonymous memory of a broker while a block runs."""

    SECONDS_BETWEEN = 0.25

    def __init__(self, broker):
        self.broker = broker
        self.mib = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self):
        while not self._done.is_set():
            self.mib = max(self.mib, self.broker.anonymous_mib())
            self._done.wait(self.SECONDS_BETWEEN)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()
