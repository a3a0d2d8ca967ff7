"""Kafka's errors, one exception each.

Every exception here is a `KafkaError` and tells the error's ``code`` (Kafka's number), its ``name`` (Kafka's name) and
whether it is ``retriable``: whether the same call may succeed later. The classes are made from the same table that the
wire protocol uses: ``UNKNOWN_TOPIC_OR_PARTITION`` is `UnknownTopicOrPartitionError`, ``KAFKA_STORAGE_ERROR`` is
`KafkaStorageError`.

>>> import strandline as sl
>>> sl.errors.TopicAlreadyExistsError.code, sl.errors.TopicAlreadyExistsError.name
(36, 'TOPIC_ALREADY_EXISTS')
>>> sl.errors.NotLeaderOrFollowerError.retriable
True

A few are also what Python calls such a thing: a wait that ran out (`RequestTimedOutError`) is a ``TimeoutError``, a
lost or refused connection (`NetworkError`) a ``ConnectionError``, a configuration or an argument that makes no sense
(`InvalidConfigError`, `InvalidRequestError`) a ``ValueError``.
"""

from strandline import _strandline


class KafkaError(Exception):
    """The base of all errors that a Kafka cluster answers with, or that the client meets on the way there."""

    code: int = -1
    """Kafka's number for the error; -1 (UNKNOWN_SERVER_ERROR) where Kafka has none."""
    name: str = "UNKNOWN_SERVER_ERROR"
    """Kafka's name for the error."""
    retriable: bool = False
    """Whether the same call may succeed later."""


# What Python calls the same thing.
_ALSO: dict[str, type[Exception]] = {
    "REQUEST_TIMED_OUT": TimeoutError,
    "NETWORK_EXCEPTION": ConnectionError,
    "INVALID_CONFIG": ValueError,
    "INVALID_REQUEST": ValueError,
}

# By Kafka's number: where the extension module finds what to raise.
_BY_CODE: dict[int, type[KafkaError]] = {}


def _class_name(name: str) -> str:
    """Kafka's name in Python's spelling: `TOPIC_ALREADY_EXISTS` is `TopicAlreadyExistsError`."""
    words = name.removesuffix("_ERROR").removesuffix("_EXCEPTION").split("_")
    return "".join(word.capitalize() for word in words) + "Error"


for _code, _name, _retriable, _meaning in _strandline._error_table():
    _also = (_ALSO[_name],) if _name in _ALSO else ()
    _class = type(
        _class_name(_name),
        (KafkaError, *_also),
        {
            "__doc__": f"{_name} ({_code}): {_meaning}",
            "__module__": __name__,
            "code": _code,
            "name": _name,
            "retriable": _retriable,
        },
    )
    _BY_CODE[_code] = globals()[_class.__name__] = _class
del _code, _name, _retriable, _meaning, _also, _class


class BufferExhaustedError(_BY_CODE[7]):  # type: ignore[misc]
    """`buffer.memory` was used up, and stayed so for `max.block.ms`: `send` came faster than the cluster takes it."""


class NoOffsetForPartitionError(_BY_CODE[1]):  # type: ignore[misc]
    """There is no committed offset to start from (or it is gone), and `auto.offset.reset` is `none`."""


class ClosedError(KafkaError):
    """The producer, consumer, client or cluster was closed before."""


class ForkedError(KafkaError):
    """The object was made before `os.fork()`, and this is the child: make a new one here."""


__all__ = sorted(name for name, value in globals().items() if isinstance(value, type) and issubclass(value, KafkaError))
