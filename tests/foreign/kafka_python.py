"""kafka-python as the judges drive it: the jobs of confluent.py, without `follow`.

move    BOOTSTRAP TOPIC PARTITION DIR   to another log dir of the broker; prints what it answers
dirs    BOOTSTRAP TOPIC                 prints the log dirs of the broker as JSON
"""

import json
import sys
import time

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError, MessageSizeTooLargeError
from kafka.structs import OffsetAndMetadata

import lines
import streaming


def producer(bootstrap, **more):
    return KafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, **more)


def consumer(bootstrap, group=None):
    return KafkaConsumer(
        bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False, auto_offset_reset="none",
        fetch_max_wait_ms=100)


def produce(bootstrap, topic, partition, codec):
    client = producer(bootstrap, compression_type=None if codec == "none" else codec, linger_ms=50)
    sent = [
        client.send(topic, value, key, headers, int(partition), timestamp)
        for key, value, headers, timestamp in lines.read_records()
    ]
    client.flush(lines.WAIT_SECONDS_MAX)
    for answer in sent:
        answer.get(lines.WAIT_SECONDS_MAX)
    client.close()


def read(client, place, count):
    """Prints `count` records, returns the offset behind the last."""
    end = None
    until = time.monotonic() + lines.WAIT_SECONDS_MAX
    while count > 0:
        if time.monotonic() > until:
            sys.exit("no further record")
        for record in client.poll(500, max_records=count).get(place, []):
            lines.print_record(record.offset, record.timestamp, record.key, record.value, record.headers)
            end = record.offset + 1
            count -= 1
    return end


def consume(bootstrap, topic, partition, kind, number, count):
    client = consumer(bootstrap)
    place = TopicPartition(topic, int(partition))
    client.assign([place])
    offset = int(number)
    if kind == "time":
        offset = client.offsets_for_times({place: offset})[place].offset
    client.seek(place, offset)
    read(client, place, int(count))
    client.close()


def resume(bootstrap, topic, partition, group, count):
    client = consumer(bootstrap, group)
    place = TopicPartition(topic, int(partition))
    client.assign([place])
    client.seek(place, client.committed(place) or 0)
    end = read(client, place, int(count))
    client.commit({place: OffsetAndMetadata(end, "judged", -1)})
    client.close()


def stream(bootstrap, topic, partitions, name, rate):
    streaming.until_input_ends()
    client = producer(
        bootstrap, linger_ms=5, delivery_timeout_ms=24 * 3600 * 1000, reconnect_backoff_max_ms=500, max_block_ms=3600 * 1000)

    def send(number, partition, value):
        answer = client.send(topic, value, partition=partition)
        answer.add_callback(lambda place: streaming.acked(number, partition, place.offset))
        answer.add_errback(lambda error: failed(number, partition, error))

    def failed(number, partition, error):
        if isinstance(error, MessageSizeTooLargeError):
            streaming.refused(number, partition, error)
        else:
            streaming.unknown(number, partition, error)

    streaming.produce_steadily(int(name), int(partitions), float(rate), send, lambda: time.sleep(0.001))
    try:
        client.flush(60)
    except KafkaError as error:
        print(f"flush: {error}", file=sys.stderr)
    client.close(5)


def move(bootstrap, topic, partition, log_dir):
    client = KafkaAdminClient(bootstrap_servers=bootstrap)
    [broker] = client.describe_cluster()["brokers"]
    for error in client.alter_replica_log_dirs({(topic, int(partition), broker["broker_id"]): log_dir}).values():
        print(error.__name__)
    client.close()


def dirs(bootstrap, topic):
    client = KafkaAdminClient(bootstrap_servers=bootstrap)
    [answer] = client.describe_log_dirs([topic])
    print(json.dumps(answer["log_dirs"], default=str))
    client.close()


if __name__ == "__main__":
    {
        "produce": produce, "consume": consume, "resume": resume, "stream": stream, "move": move, "dirs": dirs,
    }[sys.argv[1]](*sys.argv[2:])
