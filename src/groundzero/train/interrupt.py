"""Ctrl-C and SIGTERM finish the step at hand, so that what is saved is whole; a second one does not wait."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Set by a signal; the training loop looks at it between steps."""

    requested = False


@contextmanager
def graceful_interrupt() -> Iterator[StopRequest]:
    """Turn the first SIGINT or SIGTERM into a request. The second SIGINT raises KeyboardInterrupt at once.

    Outside the main thread, where Python allows no handlers, signals keep their usual effect.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, frame: FrameType | None) -> None:
        if request.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        request.requested = True

    try:
        for number in former:
            signal.signal(number, handle)
        yield request
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
