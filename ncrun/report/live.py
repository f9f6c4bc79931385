"""A server on this machine's loopback for the live page, which is read again while trainings go on."""

import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ncrun.errors import UserError
from ncrun.report.content import content_of
from ncrun.report.curves import numbers_of
from ncrun.report.gathered import Reader, Shown, records_of
from ncrun.report.overview import overview_of
from ncrun.report.packed import compact
from ncrun.report.page import about, live_page

LOOPBACK = "127.0.0.1"
# The folders are searched at most this often, for any number of open pages.
SECONDS_BETWEEN_LOOKS = 1.0


class Followed:
    """The current runs below some folders. A run keeps its number while the server lives, and a removed run keeps its
    last state. Thread-safe."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._reader = Reader(folders)
        self._lock = threading.Lock()
        self._runs: dict[Path, Shown] = {}  # readable runs, in the order in which they were first seen
        self._unread: list[Shown] = []
        self._looked = 0.0
        self.look()

    def look(self) -> list[Shown]:
        """The runs; changed ones are read again. Raises UserError for a removed folder."""
        with self._lock:
            if time.monotonic() - self._looked >= SECONDS_BETWEEN_LOOKS:
                found = self._reader.look()
                self._runs |= {run.glance.path: run for run in found if run.record is not None}
                self._unread = [run for run in found if run.record is None and run.glance.path not in self._runs]
                self._looked = time.monotonic()
            return [*self._runs.values(), *self._unread]


class Server(ThreadingHTTPServer):
    """Serves the page of some folders. port: 0 for any free one. Raises UserError if the port is not available."""

    daemon_threads = True

    def __init__(self, folders: Sequence[Path], title: str, port: int = 0) -> None:
        self.title = title
        self.followed = Followed(folders)
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except OSError as error:
            raise UserError(f"--port={port}: cannot be served at ({error.strerror})") from error

    @property
    def address(self) -> str:
        return f"http://{LOOPBACK}:{self.server_port}/"

    def page(self) -> str:
        return live_page(self.followed.look(), self.title)

    def overview(self) -> dict[str, Any]:
        """The table, with a stamp of each run and of all, which changes with it."""
        runs = self.followed.look()
        stamps = [f"{run.stamp} {run.glance.state}" for run in runs]
        return about(runs, self.title) | overview_of(runs) | {"stamps": stamps, "stamp": str(hash(tuple(stamps)))}

    def run(self, number: int) -> dict[str, Any] | None:
        runs = self.followed.look()
        records = records_of(runs)
        if number >= len(records):
            return None
        glance, record = records[number]
        return content_of(record, glance, overview_of(runs)["rows"][number]["name"], numbers_of(record))


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """The page, the table (empty if the page has this version), or a run."""
        # A foreign page whose host name resolves to this machine (DNS rebinding) sends that name.
        known = (f"{LOOPBACK}:{self.server.server_port}", f"localhost:{self.server.server_port}")
        if self.headers.get("Host") not in known:
            return self._answer(403, "text/plain", "this page is only for this machine")
        asked = urlsplit(self.path)
        try:
            if asked.path == "/":
                return self._answer(200, "text/html; charset=utf-8", self.server.page())
            if asked.path == "/overview":
                found = self.server.overview()
                if parse_qs(asked.query).get("seen") == [found["stamp"]]:
                    return self._answer(204, "application/json", "")
                return self._answer(200, "application/json", compact(found))
            kind, _, number = asked.path.removeprefix("/").partition("/")
            if kind == "run" and number.isdecimal() and (run := self.server.run(int(number))) is not None:
                return self._answer(200, "application/json", compact(run))
        except UserError as error:
            return self._answer(410, "text/plain; charset=utf-8", str(error))
        return self._answer(404, "text/plain", "no such page")

    def _answer(self, status: int, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if status != 204:
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Prints nothing: a line every two seconds would hide the output of trainings in the same terminal."""
