"""Making things ahead in one background thread, with a bound on how far ahead, and a clean end whatever happens."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Generic, TypeVar

Item = TypeVar("Item")

# How often a thread that waits on a full queue looks whether it is still wanted, in seconds.
_GLANCE = 0.1


class Prefetch(Generic[Item]):
    """`make(step)` for step = start, start + 1, ... up to stop, as a context manager around an iterator.

    An exception in `make` ends the iteration and is raised by it. Leaving the context, by exhaustion, exception or
    Ctrl-C, stops the thread and waits for it.
    """

    def __init__(self, make: Callable[[int], Item], start: int, stop: int | None, depth: int) -> None:
        assert depth > 0
        self._make = make
        self._start = start
        self._stop = stop
        self._ready: queue.Queue[tuple[int, Item] | BaseException | None] = queue.Queue(depth)
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._run, name="groundzero-prefetch", daemon=True)

    def __enter__(self) -> Iterator[tuple[int, Item]]:
        self._thread.start()
        return self._consume()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cancelled.set()
        self._thread.join()

    def _consume(self) -> Iterator[tuple[int, Item]]:
        while not self._cancelled.is_set():
            ready = self._ready.get()
            if ready is None:
                return
            if isinstance(ready, BaseException):
                raise ready
            yield ready

    def _run(self) -> None:
        step = self._start
        try:
            while self._stop is None or step < self._stop:
                if not self._hand_over((step, self._make(step))):
                    return
                step += 1
        except BaseException as error:  # whatever it is, the consumer must see it
            self._hand_over(error)
        else:
            self._hand_over(None)

    def _hand_over(self, ready: tuple[int, Item] | BaseException | None) -> bool:
        """Wait for room; False when nobody wants it any more."""
        while not self._cancelled.is_set():
            try:
                self._ready.put(ready, timeout=_GLANCE)
            except queue.Full:
                continue
            return True
        return False
