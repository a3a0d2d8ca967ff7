"""A topic that is followed: what `Topic.stream` returns.

>>> import strandline as sl
>>> with sl.Cluster() as cluster, cluster.producer() as producer:
...     topic = cluster.create_topic("numbers")
...     with topic.stream(value="utf8", columns=["offset", "value"], batch_rows=2) as stream:
...         for number in range(4):
...             _ = producer.send("numbers", value=str(number))
...         for batch in stream:
...             print(batch.to_pydict())
...             if batch["offset"][-1].as_py() == 3:
...                 break
{'offset': [0, 1], 'value': ['0', '1']}
{'offset': [2, 3], 'value': ['2', '3']}
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strandline.errors import ClosedError
from strandline.scan import _needs

if TYPE_CHECKING:
    from types import TracebackType

    import pyarrow
    from typing_extensions import Self

    from strandline._strandline import NativeBatch, NativeStream
    from strandline.types import TopicPartition

__all__ = ["Stream"]


class Stream:
    """The records of a topic as they arrive, in batches: an iterator of `pyarrow.RecordBatch` that waits for more.

    Iterating waits for ever; Ctrl-C ends the wait, and what had been gathered comes with the next batch. It ends once
    `close` was called, also from another thread; when its cluster or client is closed, it raises `ClosedError`. One
    thread at a time may read it. Used in a ``with`` block it leaves its group at the end of the block, and does not
    commit what it handed out last: call `commit` before, if that was worked on.
    """

    __slots__ = ("_native", "_pyarrow")

    def __init__(self, native: NativeStream) -> None:
        """Wrap what `Topic.stream` made."""
        self._native = native
        self._pyarrow = _needs("pyarrow", "Topic.stream")

    @property
    def topic(self) -> str:
        """The topic's name."""
        return self._native.topic

    @property
    def group_id(self) -> str | None:
        """The group that it is a member of."""
        return self._native.group_id

    @property
    def columns(self) -> list[str]:
        """The names of its columns."""
        return [name for name, _ in self._native.columns]

    @property
    def schema(self) -> pyarrow.Schema:
        """The schema of its batches."""
        schema: pyarrow.Schema = self._pyarrow.schema(self)
        return schema

    def __arrow_c_schema__(self) -> object:
        """Give the schema in a capsule."""
        return self._native.schema()

    def assignment(self) -> list[TopicPartition]:
        """Tell the partitions that it reads now; none while another thread reads it."""
        return self._native.assignment() or []

    def poll(self, timeout: float | None = 1.0) -> pyarrow.RecordBatch | None:
        """Give what came within `timeout` seconds (`None`: for ever), or `None` where nothing did."""
        batch = self._native.next(timeout)
        return None if batch is None else self._made(batch)

    def commit(self) -> None:
        """Commit what was handed out so far, for the group: it is done with."""
        self._native.commit()

    def close(self) -> None:
        """Leave the group and end every connection; a second call does nothing."""
        self._native.close()

    def __iter__(self) -> Self:
        """Give itself."""
        return self

    def __next__(self) -> pyarrow.RecordBatch:
        """Wait for the next batch."""
        while True:
            try:
                batch = self._native.next(None)
            except ClosedError:
                left, _ = self._native.closed
                if left:
                    raise StopIteration from None
                raise
            if batch is not None:
                return self._made(batch)

    def _made(self, batch: NativeBatch) -> pyarrow.RecordBatch:
        made: pyarrow.RecordBatch = self._pyarrow.record_batch(batch)
        return made

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def __repr__(self) -> str:
        """Tell what it follows."""
        group = "" if self.group_id is None else f" in group '{self.group_id}'"
        _, closed = self._native.closed
        state = "closed; " if closed else ""
        return f"<Stream of '{self.topic}'{group}: {state}{', '.join(self.columns)}>"
