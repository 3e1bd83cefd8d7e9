"""Symbolic equality of two answers (math-verify on sympy) with a hard wall clock.

Some inputs make sympy compute for ever inside C code (huggingface/Math-Verify#65: nested powers), where
neither a signal handler nor a thread can end it. So the comparison runs in a worker process that is killed
when its time is up. The clock holds in any thread and process; a killed worker is replaced by the next call.
"""

import functools
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, Literal

Verdict = Literal["match", "mismatch", "timeout"]

WORKER_MEMORY_BYTES: Final = 4 << 30
"""Address space of a worker: nested powers would otherwise fill the machine before their time is up."""
START_SECONDS: Final = 120.0
"""Longest time for a worker to import sympy (about 1 s on an idle machine); beyond it the installation is
broken.
"""
_PACKAGE_ROOT: Final = Path(__file__).resolve().parents[1]


def compare_symbolically(predicted: str, reference: str, *, seconds: float) -> Verdict:
    """Whether two answers denote the same mathematical object; `timeout` after `seconds` of wall clock.

    Running out of memory also counts as `timeout`: in both cases the answers could not be shown equal in
    bounds.
    """
    asked = time.monotonic()
    pool = _pool(os.getpid())
    try:
        worker, deadline = pool.ready.pop(), asked + seconds
    except IndexError:
        worker = _started(pool)
        # The start (about 1 s) comes out of the question's time, but never takes it whole on a busy machine.
        deadline = max(asked + 1.1 * seconds, time.monotonic() + 0.2 * seconds)
    verdict = worker.ask(predicted, reference, deadline)
    if verdict == "timeout":
        worker.kill()
        pool.starting.append(_spawn())  # the next question finds it on its way
    else:
        pool.ready.append(worker)
    return verdict


@dataclass(frozen=True)
class _Worker:
    process: "subprocess.Popen[bytes]"
    requests: IO[bytes]
    replies: IO[bytes]

    def ask(self, predicted: str, reference: str, deadline: float) -> Verdict:
        seconds = max(0.001, deadline - time.monotonic())
        request = {"predicted": predicted, "reference": reference, "seconds": seconds}
        try:
            self.requests.write(json.dumps(request).encode() + b"\n")
            self.requests.flush()
        except BrokenPipeError:
            return "timeout"
        reply = self.read_line(deadline)
        return json.loads(reply)["verdict"] if reply else "timeout"

    def read_line(self, deadline: float) -> bytes:
        """One line, or b"" when the worker ended or the time is up."""
        left = max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select([self.replies], [], [], left)
        return self.replies.readline() if ready else b""

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.requests, self.replies):
            stream.close()


@dataclass(frozen=True)
class _Pool:
    """Workers that nobody is asking: those that have said "ready", and those that have yet to."""

    ready: deque[_Worker] = field(default_factory=deque)
    starting: deque[_Worker] = field(default_factory=deque)


@functools.cache
def _pool(process_id: int) -> _Pool:
    """Keyed by process: a forked child must not talk into its parent's pipes."""
    return _Pool()


def _started(pool: _Pool) -> _Worker:
    try:
        worker = pool.starting.pop()
    except IndexError:
        worker = _spawn()
    if not worker.read_line(time.monotonic() + START_SECONDS):
        worker.kill()
        raise RuntimeError("the answer verifier did not start; `python -c 'import math_verify'` shows why")
    return worker


def _spawn() -> _Worker:
    path = os.pathsep.join(filter(None, [str(_PACKAGE_ROOT), os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(
        [sys.executable, "-c", "from mmada.math_equivalence import serve; serve()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    return _Worker(process, process.stdin, process.stdout)


def serve() -> None:
    """Body of a worker process: one JSON question per line in, one verdict per line out, until the input
    ends.
    """
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints must not look like a verdict
    resource.setrlimit(resource.RLIMIT_AS, (WORKER_MEMORY_BYTES, WORKER_MEMORY_BYTES))
    _are_equal("1", "1")  # imports everything before the clock of the first question runs
    replies.write("ready\n")
    for line in sys.stdin:
        question = json.loads(line)
        # The default action of SIGALRM ends the process in the kernel: also inside C code, also without a
        # parent.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, 1.1 * question["seconds"])
        try:
            verdict: Verdict = "match" if _are_equal(question["predicted"], question["reference"]) else "mismatch"
        except (MemoryError, OverflowError, RecursionError):
            verdict = "timeout"
        signal.setitimer(signal.ITIMER_REAL, 0)
        replies.write(json.dumps({"verdict": verdict}) + "\n")


def _are_equal(predicted: str, reference: str) -> bool:
    from math_verify import parse, verify

    # No timeouts of the library's own: they need the main thread and do not reach into C code.
    gold, answer = (parse(_as_latex(text), parsing_timeout=None) for text in (reference, predicted))
    return bool(verify(gold, answer, timeout_seconds=None))


def _as_latex(text: str) -> str:
    """Outside dollars only the first or last number would be read: "18+2\\pi" must not count as 18."""
    return text if "$" in text or "\\boxed" in text else f"${text}$"
