"""Records as lines of JSON, bytes in base64: what the judges send to the scripts beside this file and read from them."""

import base64
import json
import sys

# The longest that a script waits for the next record or acknowledgement before it gives up.
WAIT_SECONDS_MAX = 30


def _bytes(text):
    return None if text is None else base64.b64decode(text)


def _text(data):
    return None if data is None else base64.b64encode(bytes(data)).decode()


def read_records():
    for line in sys.stdin:
        record = json.loads(line)
        headers = [(name, value.encode()) for name, value in record["headers"]]
        yield _bytes(record["key"]), _bytes(record["value"]), headers, record["timestamp_ms"]


def print_record(offset, timestamp_ms, key, value, headers):
    headers = [(name, data.decode()) for name, data in headers or []]
    line = {"offset": offset, "timestamp_ms": timestamp_ms, "key": _text(key), "value": _text(value), "headers": headers}
    print(json.dumps(line))
