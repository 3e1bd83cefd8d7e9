"""A Hugging Face hub on this machine that holds one dataset: what its clients ask for, and no more."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

COMMIT: Final = hashlib.sha1(b"the newest commit").hexdigest()

_REPO: Final = re.compile(r"/api/datasets/(?P<name>[^/]+/[^/]+)(?:/revision/(?P<revision>[^/]+))?")
_TREE: Final = re.compile(r"/api/datasets/(?P<name>[^/]+/[^/]+)/tree/(?P<revision>[^/]+)/?(?P<below>.*)")
_FILE: Final = re.compile(r"/datasets/(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")


@contextmanager
def serve_dataset(name: str, folder: Path) -> Iterator[str]:
    """The address of a hub with the files of `folder` as the dataset `name`, at COMMIT and on the branch main."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            if asked := self._asked(_REPO):
                files = [
                    {"rfilename": entry["path"]} for entry in self._entries(folder, "**/*") if entry["type"] == "file"
                ]
                self._send_json({"id": name, "sha": COMMIT, "siblings": files, "private": False, "tags": []})
            elif asked := self._asked(_TREE):
                pattern = "**/*" if "recursive=true" in self.path else "*"
                self._send_json(self._entries(folder / asked["below"], pattern))
            elif (asked := self._asked(_FILE)) and (folder / asked["file"]).is_file():
                self._send_file(folder / asked["file"])
            else:
                what = "EntryNotFound" if name in self.path else "RepoNotFound"
                self._send(404, b"{}", {"X-Error-Code": what})

        def _asked(self, pattern: re.Pattern[str]) -> dict[str, str] | None:
            found = pattern.fullmatch(self.path.partition("?")[0])
            if not found or found["name"] != name or found["revision"] not in (None, "main", COMMIT):
                return None
            return found.groupdict()

        def _entries(self, below: Path, pattern: str) -> list[dict[str, Any]]:
            return [
                {
                    "type": "file" if path.is_file() else "directory",
                    "path": path.relative_to(folder).as_posix(),
                    "size": path.stat().st_size,
                    "oid": "0" * 40,
                }
                for path in sorted(below.glob(pattern))
            ]

        def _send_json(self, document: object) -> None:
            self._send(200, json.dumps(document).encode(), {"Content-Type": "application/json"})

        def _send_file(self, file: Path) -> None:
            data = file.read_bytes()
            headers = {
                "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
                "X-Repo-Commit": COMMIT,
                "Accept-Ranges": "bytes",
            }
            if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
                start, stop = int(asked[1]), min(int(asked[2] or len(data)) + 1, len(data))
                headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
                self._send(206, data[start:stop], headers)
            else:
                self._send(200, data, headers)

        def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for header, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(header, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
