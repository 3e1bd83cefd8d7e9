"""A loopback proxy before an object store that refuses some reads and cuts others short, and counts them."""

import http.client
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


@dataclass
class FaultyProxy:
    """Every `every`-th read of an object (0: none) meets one of `faults`, in turn: it is answered 503 (`refused`), or
    its body ends half way (`cut`).
    """

    server: str
    endpoint: str = ""
    every: int = 0
    faults: Sequence[str] = ("refused", "cut")
    requests: Counter[str] = field(default_factory=Counter)
    """How many of each kind: LIST, GET, HEAD; and faults."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, kind: str) -> str:
        """Count a request; returns the fault that it meets, "" for none."""
        with self.lock:
            self.requests[kind] += 1
            number = self.requests["GET"]
            if kind != "GET" or not self.every or number % self.every:
                return ""
            fault = self.faults[number // self.every % len(self.faults)]
            self.requests[fault] += 1
            return fault


def _handler(proxy: FaultyProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:  # the base class's name
            kind = "LIST" if "list-type=" in self.path else self.command
            fault = proxy.note(kind)
            if fault == "refused":
                self._answer(503, [("Content-Type", "application/xml")], _SLOW_DOWN, len(_SLOW_DOWN))
                return
            upstream = http.client.HTTPConnection(proxy.server.removeprefix("http://"), timeout=30)
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():  # the signature covers them, the host's name included
                upstream.putheader(name, value)
            upstream.endheaders()
            answer = upstream.getresponse()
            body = answer.read()
            headers = [(name, value) for name, value in answer.getheaders() if name not in ("Content-Length", "Date")]
            length = int(answer.getheader("Content-Length") or len(body))
            is_cut = fault == "cut" and answer.status < 300
            self._answer(answer.status, headers, body[: len(body) // 2] if is_cut else body, length)
            upstream.close()

        do_HEAD = do_GET  # noqa: N815

        def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes, length: int) -> None:
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() != "transfer-encoding":
                    self.send_header(name, value)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = self.command == "GET" and len(body) < length

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


@contextmanager
def faulty_proxy(server: str) -> Iterator[FaultyProxy]:
    """The proxy before the store at `server` (http://host:port), until the end of the block; no fault is set."""
    proxy = FaultyProxy(server)
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(proxy)) as listener:
        listener.daemon_threads = True
        proxy.endpoint = f"http://127.0.0.1:{listener.server_address[1]}"
        thread = threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            listener.shutdown()
