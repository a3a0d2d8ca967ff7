"""Three brokers in this process: from nothing to a replicated record that was read back. Prints one line of JSON."""

import json
import os
import time

from process import resident_mib

import strandline as sl

before = resident_mib(os.getpid())
started = time.monotonic()
with sl.Cluster(brokers=3) as cluster:
    cluster.create_topic("first", replication_factor=3)
    with cluster.producer(acks="all") as producer:
        producer.send("first", b"v").result()
    with cluster.consumer("first", auto_offset_reset="earliest", stop_at_end=True) as consumer:
        assert [message.value for message in consumer] == [b"v"]
    seconds = time.monotonic() - started
    resident = resident_mib(os.getpid()) - before
print(json.dumps({"three start": seconds * 1e3, "three resident": resident}))
