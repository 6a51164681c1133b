"""confluent-kafka (librdkafka) as the judges drive it.

produce BOOTSTRAP TOPIC PARTITION CODEC                 records on stdin
consume BOOTSTRAP TOPIC PARTITION offset|time N COUNT   records on stdout
resume  BOOTSTRAP TOPIC PARTITION GROUP COUNT           from the committed offset; commits behind what it read
stream  BOOTSTRAP TOPIC PARTITIONS PRODUCER RATE        endless numbered values, and what became of each: see streaming.py
follow  BOOTSTRAP TOPIC PARTITIONS GROUP                endless reading with commits: see streaming.py
"""

import sys
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition

import lines
import streaming


def producer(bootstrap, **more):
    return Producer({"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True, **more})


def consumer(bootstrap, group="judge"):
    return Consumer({
        "bootstrap.servers": bootstrap,
        "group.id": group,
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "fetch.wait.max.ms": 100,
    })


def committed(client, places):
    """The committed offsets; a coordinator that is still loading is asked again."""
    until = time.monotonic() + lines.WAIT_SECONDS_MAX
    while True:
        try:
            answers = client.committed(places, lines.WAIT_SECONDS_MAX)
            for place in answers:
                if place.error:
                    raise KafkaException(place.error)
            return answers
        except KafkaException:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def produce(bootstrap, topic, partition, codec):
    failed = []

    def delivered(error, _message):
        if error is not None:
            failed.append(error)

    client = producer(bootstrap, **{"compression.type": codec, "linger.ms": 50})
    for key, value, headers, timestamp in lines.read_records():
        client.produce(topic, value, key, int(partition), on_delivery=delivered, timestamp=timestamp or 0, headers=headers)
    left = client.flush(lines.WAIT_SECONDS_MAX)
    if left or failed:
        sys.exit(f"{left} records without an answer, failed: {failed}")


def read(client, count):
    """Prints `count` records, returns the offset behind the last."""
    end = None
    for _ in range(count):
        message = client.poll(lines.WAIT_SECONDS_MAX)
        if message is None:
            sys.exit("no further record")
        if message.error():
            raise KafkaException(message.error())
        lines.print_record(
            message.offset(), message.timestamp()[1], message.key(), message.value(), message.headers())
        end = message.offset() + 1
    return end


def consume(bootstrap, topic, partition, kind, number, count):
    client = consumer(bootstrap)
    place = TopicPartition(topic, int(partition), int(number))
    if kind == "time":
        place = client.offsets_for_times([place], lines.WAIT_SECONDS_MAX)[0]
    client.assign([place])
    read(client, int(count))
    client.close()


def resume(bootstrap, topic, partition, group, count):
    client = consumer(bootstrap, group)
    place = committed(client, [TopicPartition(topic, int(partition))])[0]
    if place.offset < 0:
        place.offset = OFFSET_BEGINNING
    client.assign([place])
    end = read(client, int(count))
    client.commit(offsets=[TopicPartition(topic, int(partition), end)], asynchronous=False)
    client.close()


def stream(bootstrap, topic, partitions, name, rate):
    streaming.until_input_ends()
    # No time limit: a broker that is away is waited for, so what fails is not a matter of time.
    client = producer(bootstrap, **{"linger.ms": 5, "message.timeout.ms": 0, "reconnect.backoff.max.ms": 500})
    looker = consumer(bootstrap, "look")
    acks = {"left": streaming.LOOK_EVERY, "partition": None}

    def poll(seconds):
        client.poll(seconds)
        # Outside the callback: whoever waits for this answer gets no acknowledgement meanwhile.
        if acks["left"] <= 0 and not streaming.ended():
            acks["left"] = streaming.LOOK_EVERY
            try:
                marks = looker.get_watermark_offsets(TopicPartition(topic, acks["partition"]), 5)
            except KafkaException:
                return  # the broker is away
            if marks is not None:
                streaming.end(acks["partition"], marks[1])

    def send(number, partition, value):
        def delivered(error, message):
            if error is None:
                streaming.acked(number, partition, message.offset())
                acks["left"] -= 1
                acks["partition"] = partition
            elif error.code() in (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG):
                streaming.refused(number, partition, error)
            else:
                streaming.unknown(number, partition, error)

        while True:
            try:
                client.produce(topic, value, partition=partition, on_delivery=delivered)
                break
            except BufferError:
                client.poll(0.1)
        poll(0)

    streaming.produce_steadily(int(name), int(partitions), float(rate), send, lambda: poll(0.01))
    client.flush()
    looker.close()


def follow(bootstrap, topic, partitions, group):
    streaming.until_input_ends()
    places = [TopicPartition(topic, partition) for partition in range(int(partitions))]

    def session():
        client = consumer(bootstrap, group)
        try:
            start = streaming.persist(lambda: committed(client, places), KafkaException)
            for place in start:
                streaming.resumed(place.partition, place.offset)
                place.offset = max(place.offset, 0)
            client.assign(start)
            ends = {place.partition: place.offset for place in start}
            until = time.monotonic() + streaming.SESSION_SECONDS
            while time.monotonic() < until and not streaming.ended():
                for message in client.consume(500, 0.2):
                    if message.error() is None:
                        streaming.read(message.partition(), message.offset(), message.value())
                        ends[message.partition()] = message.offset() + 1
                for place in places:
                    marks = client.get_watermark_offsets(place, cached=True)
                    if marks is not None and marks[1] >= 0:
                        streaming.high_watermark(place.partition, marks[1])
                offsets = [TopicPartition(topic, partition, end) for partition, end in ends.items()]
                try:
                    client.commit(offsets=offsets, asynchronous=False)
                    for partition, end in ends.items():
                        streaming.committed(partition, end)
                        marks = client.get_watermark_offsets(TopicPartition(topic, partition), 5)
                        if marks is not None:
                            streaming.end(partition, marks[1])
                except KafkaException:
                    pass  # the broker is away; the next round commits again
        finally:
            client.close()

    while not streaming.ended():
        session()


if __name__ == "__main__":
    {"produce": produce, "consume": consume, "resume": resume, "stream": stream, "follow": follow}[sys.argv[1]](*sys.argv[2:])
