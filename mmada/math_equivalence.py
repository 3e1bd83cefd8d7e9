"""Symbolic equality of two answers (math-verify on sympy) with a hard wall clock.

Some inputs make sympy compute for ever inside C code (huggingface/Math-Verify#65: nested powers), where
neither a signal handler nor a thread can end it. So the comparison runs in a worker process that the kernel ends
when its time is up. The clock holds in any thread and process; the next call forks another worker.
"""

import functools
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

Verdict = Literal["match", "mismatch", "timeout"]

WORKER_MEMORY_BYTES: Final = 4 << 30
"""Address space of a worker: nested powers would otherwise fill the machine before their time is up."""
START_SECONDS: Final = 120.0
"""Longest time for the template to import sympy (about 1 s on an idle machine); beyond it the installation is
broken.
"""
_REPLY_BYTES: Final = 64
_INEQUALITY: Final = re.compile(r"[<>]|\\(?:leq?|geq?|lt|gt)(?![a-z])")
_PACKAGE_ROOT: Final = Path(__file__).resolve().parents[1]


def compare_symbolically(predicted: str, reference: str, *, seconds: float) -> Verdict:
    """Whether two answers denote the same mathematical object; `timeout` after `seconds` of wall clock.

    Running out of memory also counts as `timeout`: in both cases the answers could not be shown equal in
    bounds. The verifier's start (about 1 s, once a process) comes out of the first question's time, but never takes
    it whole on a busy machine.
    """
    asked = time.monotonic()
    pool = _pool(os.getpid())
    try:
        worker = pool.idle.pop()
    except IndexError:
        worker = pool.new_worker()
    seconds = max(asked + seconds - time.monotonic(), 0.2 * seconds)
    verdict = worker.ask({"predicted": predicted, "reference": reference, "seconds": seconds}, seconds)
    if verdict == "timeout":
        worker.connection.close()  # it ends itself when its time is up
    else:
        pool.idle.append(worker)
    return verdict


@dataclass(frozen=True)
class _Worker:
    connection: socket.socket

    def ask(self, question: dict[str, str | float], seconds: float) -> Verdict:
        self.connection.settimeout(1.1 * seconds)
        try:
            self.connection.sendall(json.dumps(question).encode() + b"\n")
            reply = self.connection.recv(_REPLY_BYTES)
        except (TimeoutError, ConnectionError):
            return "timeout"
        return json.loads(reply)["verdict"] if reply else "timeout"


@dataclass(frozen=True)
class _Pool:
    """The template process of this process, which has imported everything and forks a worker in milliseconds, and
    the workers that nobody is asking.
    """

    idle: deque[_Worker] = field(default_factory=deque)
    lock: threading.Lock = field(default_factory=threading.Lock)
    templates: list[socket.socket] = field(default_factory=list)

    def new_worker(self) -> _Worker:
        ours, theirs = socket.socketpair()
        with self.lock, theirs:
            if not self.templates:
                self.templates.append(_start_template())
            socket.send_fds(self.templates[0], [b"w"], [theirs.fileno()])
        return _Worker(ours)


@functools.cache
def _pool(process_id: int) -> _Pool:
    """Keyed by process: a forked child must not talk into its parent's connections."""
    return _Pool()


def _start_template() -> socket.socket:
    path = os.pathsep.join(filter(None, [str(_PACKAGE_ROOT), os.environ.get("PYTHONPATH")]))
    ours, theirs = socket.socketpair()
    with theirs:
        subprocess.Popen(
            [sys.executable, "-c", f"from mmada.math_equivalence import serve; serve({theirs.fileno()})"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # an interrupt at the terminal is for its owner, who then closes the connection
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )
    ours.settimeout(START_SECONDS)
    try:
        started = ours.recv(_REPLY_BYTES)
    except TimeoutError:
        started = b""
    if not started:
        ours.close()
        raise RuntimeError("the answer verifier did not start; `python -c 'import math_verify'` shows why")
    ours.settimeout(None)
    return ours


def serve(control: int) -> None:
    """Body of the template process: forks a worker for each connection that it is sent, until its owner ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended workers leave nothing behind
    _are_equal("1", "1")  # imports everything
    with socket.socket(fileno=control) as owner:
        owner.sendall(b"ready")
        while True:
            message, connections, _, _ = socket.recv_fds(owner, 1, 1)
            if not message:
                return
            if os.fork() == 0:
                owner.close()
                _answer(socket.socket(fileno=connections[0]))
                os._exit(0)
            os.close(connections[0])


def _answer(connection: socket.socket) -> None:
    """Body of a worker: one JSON question a line, one verdict each, until the connection ends."""
    resource.setrlimit(resource.RLIMIT_AS, (WORKER_MEMORY_BYTES, WORKER_MEMORY_BYTES))
    # The default action of SIGALRM ends the process in the kernel: also inside C code, also without an owner.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for line in connection.makefile("rb"):
        question = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, 1.1 * question["seconds"])
        try:
            verdict: Verdict = "match" if _are_equal(question["predicted"], question["reference"]) else "mismatch"
        except (MemoryError, OverflowError, RecursionError):
            verdict = "timeout"
        signal.setitimer(signal.ITIMER_REAL, 0)
        connection.sendall(json.dumps({"verdict": verdict}).encode())


def _are_equal(predicted: str, reference: str) -> bool:
    from math_verify import parse, verify

    # No timeouts of the library's own: they need the main thread and do not reach into C code.
    gold, answer = (parse(_as_latex(text), parsing_timeout=None) for text in (reference, predicted))
    # Its relation is not symmetric: an equation answers for its right side but not the other way round, and an
    # interval for an inequality. Ours is: equations must agree both ways, for inequalities one way suffices.
    directions = (verify(*pair, timeout_seconds=None) for pair in ((gold, answer), (answer, gold)))
    return any(directions) if _INEQUALITY.search(predicted + reference) else all(directions)


def _as_latex(text: str) -> str:
    """Outside dollars only the first or last number would be read: "18+2\\pi" must not count as 18."""
    return text if "$" in text or "\\boxed" in text else f"${text}$"
