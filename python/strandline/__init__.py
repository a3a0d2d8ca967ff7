"""A Kafka-compatible event streaming system in one wheel.

The broker, its log and the clients are Rust, in the extension module ``strandline._strandline``; this package is what
Python sees of them.

>>> import strandline
>>> strandline.__version__
'0.1.0'
"""

from strandline._strandline import __version__

__all__ = ["__version__"]
