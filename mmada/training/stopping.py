"""A scheduler that wants its machine back says so by a signal; the run then saves its state and ends as resumable."""

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Final

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGUSR1)


class StopRequest:
    """While it is entered, SIGTERM and SIGUSR1 set `asked` and call `then`, instead of ending the process."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.asked = False
        self._then = then
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
            self._before = {number: signal.signal(number, self._ask) for number in STOP_SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal gave

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self._then()
