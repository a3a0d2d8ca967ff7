"""Faults of the network, for `chaos`: brokers that run, and cannot reach each other.

| name | who hears whom | what must come of it |
|---|---|---|
| minority | one hears no other, nor they it; clients reach all | the others lead what it led |
| unplugged | nobody hears it, it hears nobody | the same |
| deaf | it hears no other, they hear it | the same |
| mute | no other hears it, it hears them | the same |
| pair | it and one other do not hear each other | no partition that one of them leads waits for the other |
"""

import itertools
import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from .apart import Network
from .chaos import Fault, all_see, until_without
from .nodes import Node, Nodes
from .traffic import Traffic


def both_ways(one: int, other: int) -> list[tuple[int, int]]:
    """The two links between two brokers."""
    return [(one, other), (other, one)]


def faults(network: Network, dice: random.Random) -> dict[str, Fault]:
    """What may happen to the links of one broker."""

    @contextmanager
    def lost(cut: AbstractContextManager[None], nodes: Nodes, node: Node, traffic: Traffic) -> Iterator[None]:
        with cut:
            until_without(nodes, node, traffic)
            yield

    def others(nodes: Nodes, node: Node) -> list[int]:
        return [other.number for other in nodes.all if other is not node]

    def minority(nodes: Nodes, node: Node, traffic: Traffic) -> AbstractContextManager[None]:
        links = itertools.chain(*(both_ways(node.number, other) for other in others(nodes, node)))
        return lost(network.cut(list(links)), nodes, node, traffic)

    def unplugged(nodes: Nodes, node: Node, traffic: Traffic) -> AbstractContextManager[None]:
        return lost(network.unplugged(node.number), nodes, node, traffic)

    def deaf(nodes: Nodes, node: Node, traffic: Traffic) -> AbstractContextManager[None]:
        links = [(other, node.number) for other in others(nodes, node)]
        return lost(network.cut(links), nodes, node, traffic)

    def mute(nodes: Nodes, node: Node, traffic: Traffic) -> AbstractContextManager[None]:
        links = [(node.number, other) for other in others(nodes, node)]
        return lost(network.cut(links), nodes, node, traffic)

    @contextmanager
    def pair(nodes: Nodes, node: Node, traffic: Traffic) -> Iterator[None]:
        other = dice.choice(others(nodes, node))
        third = next(seer for seer in nodes.all if seer.number not in (node.number, other))
        two = {node.number, other}

        def settled() -> bool:
            return all_see(
                [third],
                lambda part: part.leader >= 0 and (part.leader not in two or not two <= set(part.isrs)),
            )

        with network.cut(both_ways(node.number, other)):
            traffic.until(settled, f"{node.number} and {other} do not wait for each other")
            yield

    return {"minority": minority, "unplugged": unplugged, "deaf": deaf, "mute": mute, "pair": pair}
