"""Members of groups as the judges drive them: they subscribe, print `PARTITION OFFSET VALUE` for each record, commit, and end
when their input does.

confluent      BOOTSTRAP TOPIC GROUP ASSIGNOR [hold]   librdkafka
confluent-next BOOTSTRAP TOPIC GROUP ASSIGNOR [hold]   librdkafka by the protocol of KIP-848
kafka-python   BOOTSTRAP TOPIC GROUP ASSIGNOR [hold]
aiokafka       BOOTSTRAP TOPIC GROUP ASSIGNOR [hold]

ASSIGNOR is range, or where the client has it cooperative-sticky; by KIP-848 one of the broker's. A commit that is refused prints
`refused WHY`. With `hold` the first value that begins with that word is not committed before a line of input comes, and
POLL_INTERVAL_MS is all the time that a member has between two polls.
"""

import asyncio
import sys

import streaming

# Short, so that a member that was killed is missed soon; the least that brokers allow by default.
SESSION_MS = 6000
HEARTBEAT_MS = 1000
POLL_INTERVAL_MS = 7000

holding = False


def told(partition, offset, value):
    """Whether it is to be held."""
    global holding
    print(f"{partition} {offset} {value.decode()}", flush=True)
    holds = holding and value.startswith(b"hold")
    holding = holding and not holds
    return holds


def refused(error):
    # A rebalance has begun, or the broker is away: whoever has the partition next reads the record again.
    print("refused", " ".join(str(error).split()), flush=True)


def confluent(bootstrap, topic, group, assignor):
    follow_with_librdkafka(bootstrap, topic, group, {
        "partition.assignment.strategy": assignor, "session.timeout.ms": SESSION_MS, "heartbeat.interval.ms": HEARTBEAT_MS,
    })


def confluent_next(bootstrap, topic, group, assignor):
    follow_with_librdkafka(bootstrap, topic, group, {"group.protocol": "consumer", "group.remote.assignor": assignor})


def follow_with_librdkafka(bootstrap, topic, group, protocol):
    from confluent_kafka import Consumer, KafkaException

    if holding:
        protocol["max.poll.interval.ms"] = POLL_INTERVAL_MS
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
        if told(message.partition(), message.offset(), message.value()):
            streaming.until_told()
        try:
            client.commit(message, asynchronous=False)
        except KafkaException as error:
            refused(error)


def kafka_python(bootstrap, topic, group, assignor):
    from kafka import KafkaConsumer
    from kafka.coordinator.assignors.range import RangePartitionAssignor
    from kafka.errors import KafkaError

    assert assignor == "range"
    client = KafkaConsumer(
        topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest", enable_auto_commit=False,
        partition_assignment_strategy=[RangePartitionAssignor], session_timeout_ms=SESSION_MS,
        heartbeat_interval_ms=HEARTBEAT_MS, fetch_max_wait_ms=100, reconnect_backoff_max_ms=500,
        **({"max_poll_interval_ms": POLL_INTERVAL_MS} if holding else {}))
    while not streaming.ended():
        for records in client.poll(200).values():
            if any([told(record.partition, record.offset, record.value) for record in records]):
                streaming.until_told()
            try:
                client.commit()
            except KafkaError as error:
                refused(error)


def aiokafka(bootstrap, topic, group, assignor):
    from aiokafka import AIOKafkaConsumer
    from aiokafka.coordinator.assignors.range import RangePartitionAssignor
    from aiokafka.errors import KafkaError

    assert assignor == "range"

    async def follow():
        client = AIOKafkaConsumer(
            topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest", enable_auto_commit=False,
            partition_assignment_strategy=[RangePartitionAssignor], session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=HEARTBEAT_MS, fetch_max_wait_ms=100,
            **({"max_poll_interval_ms": POLL_INTERVAL_MS} if holding else {}))
        await client.start()
        while not streaming.ended():
            for records in (await client.getmany(timeout_ms=200)).values():
                if any([told(record.partition, record.offset, record.value) for record in records]):
                    await asyncio.to_thread(streaming.until_told)
            try:
                await client.commit()
            except KafkaError as error:
                refused(error)
        await client.stop()

    asyncio.run(follow())


if __name__ == "__main__":
    streaming.until_input_ends()
    holding = sys.argv[6:] == ["hold"]
    {
        "confluent": confluent, "confluent-next": confluent_next, "kafka-python": kafka_python, "aiokafka": aiokafka,
    }[sys.argv[1]](*sys.argv[2:6])
