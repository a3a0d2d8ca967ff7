"""Three brokers in this process, of which the leader is killed: how long that is felt. Prints one line of JSON."""

import itertools
import json
import time

import strandline as sl

BEFORE, AFTER = 200, 500


def main() -> None:
    """Send one record after the other, and kill the leader in between."""
    moments: list[float] = []
    with sl.Cluster(brokers=3) as cluster:
        cluster.create_topic("gap", replication_factor=3)
        cluster.wait_healthy()
        with cluster.producer(acks="all") as producer:
            for number in range(BEFORE + AFTER):
                if number == BEFORE:
                    leader = cluster.admin().describe_topics(["gap"])[0].partitions[0].leader
                    cluster.brokers[leader].kill()
                    moments.append(time.monotonic())
                producer.send("gap", b"v").result()
                moments.append(time.monotonic())
    gap = max(later - earlier for earlier, later in itertools.pairwise(moments[BEFORE - 1 :]))
    print(json.dumps({"three killed inside": gap}))


main()
