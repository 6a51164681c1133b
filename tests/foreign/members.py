"""Members of groups as the judges drive them: they subscribe, print `PARTITION OFFSET VALUE` for each record, commit, and end
when their input does.

confluent      BOOTSTRAP TOPIC GROUP ASSIGNOR     librdkafka
confluent-next BOOTSTRAP TOPIC GROUP ASSIGNOR     librdkafka by the protocol of KIP-848
kafka-python   BOOTSTRAP TOPIC GROUP ASSIGNOR
aiokafka       BOOTSTRAP TOPIC GROUP ASSIGNOR

ASSIGNOR is range, or where the client has it cooperative-sticky; by KIP-848 one of the broker's.
"""

import asyncio
import sys

import streaming

# Short, so that a member that was killed is missed soon; the least that brokers allow by default.
SESSION_MS = 6000
HEARTBEAT_MS = 1000


def told(partition, offset, value):
    print(f"{partition} {offset} {value.decode()}", flush=True)


def confluent(bootstrap, topic, group, assignor):
    follow_with_librdkafka(bootstrap, topic, group, {
        "partition.assignment.strategy": assignor, "session.timeout.ms": SESSION_MS, "heartbeat.interval.ms": HEARTBEAT_MS,
    })


def confluent_next(bootstrap, topic, group, assignor):
    follow_with_librdkafka(bootstrap, topic, group, {"group.protocol": "consumer", "group.remote.assignor": assignor})


def follow_with_librdkafka(bootstrap, topic, group, protocol):
    from confluent_kafka import Consumer, KafkaException

    client = Consumer({
        "bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False,
        "fetch.wait.max.ms": 100, **protocol,
    })
    client.subscribe([topic])
    while not streaming.ended():
        message = client.poll(0.2)
        if message is None:
            continue
        if message.error():
            print(message.error(), file=sys.stderr)
            continue
        told(message.partition(), message.offset(), message.value())
        try:
            client.commit(message, asynchronous=False)
        except KafkaException as error:
            # A rebalance has begun, or the broker is away: whoever has the partition next reads the record again.
            print(error, file=sys.stderr)


def kafka_python(bootstrap, topic, group, assignor):
    from kafka import KafkaConsumer
    from kafka.coordinator.assignors.range import RangePartitionAssignor
    from kafka.errors import KafkaError

    assert assignor == "range"
    client = KafkaConsumer(
        topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest", enable_auto_commit=False,
        partition_assignment_strategy=[RangePartitionAssignor], session_timeout_ms=SESSION_MS,
        heartbeat_interval_ms=HEARTBEAT_MS, fetch_max_wait_ms=100, reconnect_backoff_max_ms=500)
    while not streaming.ended():
        for records in client.poll(200).values():
            for record in records:
                told(record.partition, record.offset, record.value)
            try:
                client.commit()
            except KafkaError as error:
                print(error, file=sys.stderr)


def aiokafka(bootstrap, topic, group, assignor):
    from aiokafka import AIOKafkaConsumer
    from aiokafka.coordinator.assignors.range import RangePartitionAssignor
    from aiokafka.errors import KafkaError

    assert assignor == "range"

    async def follow():
        client = AIOKafkaConsumer(
            topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest", enable_auto_commit=False,
            partition_assignment_strategy=[RangePartitionAssignor], session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=HEARTBEAT_MS, fetch_max_wait_ms=100)
        await client.start()
        while not streaming.ended():
            for records in (await client.getmany(timeout_ms=200)).values():
                for record in records:
                    told(record.partition, record.offset, record.value)
            try:
                await client.commit()
            except KafkaError as error:
                print(error, file=sys.stderr)
        await client.stop()

    asyncio.run(follow())


if __name__ == "__main__":
    streaming.until_input_ends()
    {
        "confluent": confluent, "confluent-next": confluent_next, "kafka-python": kafka_python, "aiokafka": aiokafka,
    }[sys.argv[1]](*sys.argv[2:])
