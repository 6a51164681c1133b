"""aiokafka as the judges drive it: the jobs produce, consume and resume of confluent.py."""

import asyncio
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

import lines


async def produce(bootstrap, topic, partition, codec):
    client = AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, linger_ms=50,
        compression_type=None if codec == "none" else codec)
    await client.start()
    try:
        sent = [
            await client.send(topic, value, key, int(partition), timestamp, headers)
            for key, value, headers, timestamp in lines.read_records()
        ]
        await asyncio.wait_for(asyncio.gather(*sent), lines.WAIT_SECONDS_MAX)
    finally:
        await client.stop()


async def consumer(bootstrap, group=None):
    client = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False, auto_offset_reset="none",
        fetch_max_wait_ms=100)
    await client.start()
    return client


async def read(client, count):
    """Prints `count` records, returns the offset behind the last."""
    end = None
    for _ in range(int(count)):
        record = await asyncio.wait_for(client.getone(), lines.WAIT_SECONDS_MAX)
        lines.print_record(record.offset, record.timestamp, record.key, record.value, record.headers)
        end = record.offset + 1
    return end


async def consume(bootstrap, topic, partition, kind, number, count):
    client = await consumer(bootstrap)
    try:
        place = TopicPartition(topic, int(partition))
        client.assign([place])
        offset = int(number)
        if kind == "time":
            offset = (await client.offsets_for_times({place: offset}))[place].offset
        client.seek(place, offset)
        await read(client, count)
    finally:
        await client.stop()


async def resume(bootstrap, topic, partition, group, count):
    client = await consumer(bootstrap, group)
    try:
        place = TopicPartition(topic, int(partition))
        client.assign([place])
        client.seek(place, await client.committed(place) or 0)
        await client.commit({place: (await read(client, count), "judged")})
    finally:
        await client.stop()


if __name__ == "__main__":
    asyncio.run({"produce": produce, "consume": consume, "resume": resume}[sys.argv[1]](*sys.argv[2:]))
