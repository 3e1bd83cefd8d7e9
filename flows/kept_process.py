"""A process that is started again whenever it ends."""

import logging
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mmada.processes import die_with_parent

_LOG: Final = logging.getLogger("flows.serve")
_CALM_SECONDS: Final = 60.0
_LONGEST_WAIT: Final = 60.0


@dataclass
class KeptProcess:
    """Runs `command` with its output in the file `log`; it ends with us, however we end."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    _process: "subprocess.Popen[bytes] | None" = None
    _quick_ends: int = 0
    _started: float = 0.0
    _not_before: float = 0.0

    def keep(self) -> None:
        """Start the process if it does not run; one that keeps ending at once is waited for longer and longer."""
        now = time.monotonic()
        if self._process is not None and self._process.poll() is not None:
            self._quick_ends = self._quick_ends + 1 if now - self._started < _CALM_SECONDS else 0
            self._not_before = now + min(_LONGEST_WAIT, 2.0**self._quick_ends - 1.0)
            _LOG.warning("%s ended with code %s; its log is %s", self.name, self._process.returncode, self.log)
            self._process = None
        if self._process is None and now >= self._not_before:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("ab") as stream:
                self._process = subprocess.Popen(
                    list(self.command),
                    env=dict(self.environment),
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                    preexec_fn=die_with_parent,  # no thread of ours holds a lock that it needs
                )
            self._started = now

    def end(self, *, seconds: float = 20.0) -> None:
        """Ask the process to end, and make it end after `seconds`."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
