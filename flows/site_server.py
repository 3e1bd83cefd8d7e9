"""The sites of a project and of its runs over HTTP on loopback, so that pages of the Prefect UI can link to them.

`/` is the project's own site, `/runs/<digest>/` that of a triggered run.
"""

import re
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from flows.run_workspace import RUNS_DIR

_RUN: Final = re.compile(r"^/runs/([0-9a-f]{16})(/.*)?$")


class _SiteHandler(SimpleHTTPRequestHandler):
    """Files below the site folders, and nothing else."""

    project: Path
    site: str

    def translate_path(self, path: str) -> str:
        run = _RUN.match(path.partition("?")[0])
        root = self.project / RUNS_DIR / run.group(1) if run else self.project
        self.directory = str(root / self.site)
        return super().translate_path((run.group(2) or "/") if run else path)

    def list_directory(self, path: Any) -> None:
        self.send_error(404, "there is no site here yet: `dvc repro build_site` makes it")

    def log_message(self, format: str, *args: Any) -> None:
        """Requests for pages are no news."""


def start_site_server(project: Path, site: str, *, host: str, port: int) -> ThreadingHTTPServer:
    """Serve in the background. `site`: its folder, relative to a project. Raises OSError when the port is taken."""
    handler = type("SiteHandler", (_SiteHandler,), {"project": project, "site": site})
    server = ThreadingHTTPServer((host, port), handler)
    threading.Thread(target=server.serve_forever, name="site", daemon=True).start()
    return server
