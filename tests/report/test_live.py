"""What the server of the page that follows trainings tells, and to whom."""

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import WHOLE_ROW, write_run

from ncrun.errors import UserError
from ncrun.report import live
from ncrun.report.live import Server

pytest.importorskip("plotly")


@pytest.fixture(autouse=True)
def looking_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "SECONDS_BETWEEN_LOOKS", 0.0)


@contextmanager
def served(*folders: Path) -> Iterator[Server]:
    with Server(folders, "ours") as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def asked(server: Server, path: str, host: str | None = None, method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
    try:
        connection.request(method, path, headers={"Host": host or f"127.0.0.1:{server.server_port}"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def told(server: Server, path: str) -> dict[str, Any]:
    status, text = asked(server, path)
    assert status == 200
    found: dict[str, Any] = json.loads(text)
    return found


def measured(folder: Path, epoch: int) -> None:
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(WHOLE_ROW | {"epoch": epoch, "nc1": 0.5**epoch}) + "\n")


def test_the_server_tells_what_changes(tmp_path: Path) -> None:
    """A run's number stays when another one, before it in the alphabet, comes; what is unchanged is not told again."""
    first = write_run(tmp_path / "b", [{"epoch": 0}], state="running")
    with served(tmp_path) as server:
        before = told(server, "/overview")
        before = told(server, "/overview")  # a new run is read twice
        assert asked(server, f"/overview?seen={before['stamp']}") == (204, "")
        measured(first, 1)
        write_run(tmp_path / "a", [{"epoch": 0}], state="running")
        (tmp_path / "c").mkdir()
        (tmp_path / "c" / "manifest.json").write_text('{"state": "running"}')
        now = told(server, f"/overview?seen={before['stamp']}")
        assert [row["name"] for row in now["rows"]] == ["b", "a"]
        assert [each["name"] for each in now["unread"]] == ["c"]
        assert told(server, "/run/0")["curves"]["columns"]["nc1"][-1] == 0.5
        assert asked(server, "/run/2")[0] == asked(server, "/etc/passwd")[0] == 404


def test_the_server_is_for_this_machine_alone(tmp_path: Path) -> None:
    """It listens on the loopback, and answers to no other name, which a page of another origin could have resolved to
    it; nothing but reading is known; a port that is taken is refused in a line."""
    write_run(tmp_path / "one", [{"epoch": 0}])
    with served(tmp_path) as server:
        assert server.server_address[0] == "127.0.0.1"
        assert asked(server, "/", host="evil.example")[0] == 403
        assert asked(server, "/", host=f"localhost:{server.server_port}")[0] == 200
        assert asked(server, "/", method="POST")[0] == 501
        with pytest.raises(UserError, match=r"cannot be served at \(Address already in use\)"):
            Server([tmp_path], "ours", server.server_port)
