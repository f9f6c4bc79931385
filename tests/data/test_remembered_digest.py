"""The digest of own data is remembered, and never where the data may have changed."""

import hashlib
import json
import os
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from own_files import write_images

from ncrun import json_object
from ncrun.data import cache, remembered_digest
from ncrun.data.remembered_digest import SETTLED_NS, digest_of
from ncrun.data.sources.image_folder import FolderOfImages

SECOND = 10**9


class Clock:
    """What the machine says, in ns."""

    def __init__(self) -> None:
        self.now = 10**18

    def time_ns(self) -> int:
        return self.now

    def perf_counter(self) -> float:
        return self.now / SECOND


@pytest.fixture(autouse=True)
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A cache of this test's own, in which small data are remembered, too."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(remembered_digest, "WORTH_S", 0)
    found = Clock()
    monkeypatch.setattr(remembered_digest, "time", found)
    return found


def record() -> Path:
    (file,) = cache.cache_file("digests", "x").parent.iterdir()
    return file


class Asked:
    """A folder of images, asked for its digest as a new process would, and how often its bytes were read."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path, self.clock, self.reads = path, clock, 0

    def digest(self, believe: bool = True) -> str:
        found = FolderOfImages(self.path, 6, 3)
        read = found._hashed

        def counted() -> str:
            self.reads += 1
            return read()

        found._hashed = counted  # type: ignore[method-assign]
        return found._digest(believe)

    def settle(self) -> str:
        """Ask twice, a minute apart: from then on it is remembered."""
        self.digest()
        self.clock.now += SETTLED_NS
        return self.digest()


@pytest.fixture
def asked(tmp_path: Path, clock: Clock) -> Asked:
    write_images(tmp_path / "own")
    return Asked(tmp_path / "own", clock)


def test_bytes_are_read_until_their_times_have_been_seen_for_a_minute(asked: Asked, clock: Clock) -> None:
    first = asked.digest()
    clock.now += SETTLED_NS - 1
    assert (asked.digest(), asked.reads) == (first, 2)
    clock.now += 1
    assert (asked.digest(), asked.reads) == (first, 3)
    assert (asked.digest(), asked.digest(), asked.reads) == (first, first, 3)
    assert (asked.digest(believe=False), asked.reads) == (first, 4)


def test_what_is_read_at_once_is_not_remembered(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered_digest, "WORTH_S", 1)
    asked.settle()
    assert not cache.cache_file("digests", "x").parent.exists()


def rewrite(file: Path) -> None:
    """Other bytes, as many, and the time of modification put back."""
    found, content = file.stat(), bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))


def replace(file: Path) -> None:
    """By another file, as large and as old."""
    other = file.with_name("aside")
    other.write_bytes(file.read_bytes()[:-1] + b"x")
    os.utime(other, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    other.rename(file)


def link(file: Path) -> None:
    kept = file.rename(file.parents[2] / "kept.png")
    file.symlink_to(kept)


CHANGES: dict[str, Callable[[Path], object]] = {
    "rewritten": rewrite,
    "replaced": replace,
    "longer": lambda file: file.write_bytes(file.read_bytes() + b"x"),
    "renamed": lambda file: file.rename(file.with_name("9.png")),
    "moved to another class": lambda file: file.rename(file.parents[1] / "crab" / "9.png"),
    "gone": lambda file: file.unlink(),
    "another beside it": lambda file: file.with_name("9.png").write_bytes(b"x"),
    "touched": lambda file: os.utime(file),
    "a link to it": link,
}


@pytest.mark.parametrize("what", CHANGES)
def test_nothing_is_believed_of_files_that_have_changed(what: str, asked: Asked) -> None:
    before = asked.settle()
    CHANGES[what](asked.path / "bear" / "2.png")
    after = asked.digest()
    assert (after, asked.reads) == (FolderOfImages(asked.path, 6, 3)._hashed(), 3)
    assert (after == before) == (what in ("touched", "a link to it"))


def test_nothing_is_believed_when_the_clock_has_been_set_back(asked: Asked, clock: Clock) -> None:
    asked.settle()
    clock.now -= SETTLED_NS + 1
    asked.digest()
    assert asked.reads == 3


def test_another_host_s_minute_does_not_count(asked: Asked, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its clock may be an hour ahead; what it has read after a minute of its own does."""
    asked.digest()
    clock.now += SETTLED_NS
    with monkeypatch.context() as patch:
        patch.setattr(remembered_digest.platform, "node", lambda: "elsewhere")
        asked.digest()
        assert json.loads(record().read_text())["digest"] is None
        clock.now += SETTLED_NS
        asked.digest()
    asked.digest()
    assert asked.reads == 3


@pytest.mark.parametrize(
    "damage",
    [
        lambda found: "",
        lambda found: json.dumps([found]),
        lambda found: json.dumps(found)[:-9],
        lambda found: json.dumps(found | {"digest": "0" * 63 + "g"}),
        lambda found: json.dumps(found | {"digest": 0}),
        lambda found: json.dumps(found | {"seen": "0"}),
        lambda found: json.dumps({"digest": "0" * 64}),
    ],
)
def test_a_damaged_record_is_none(damage: Callable[[dict], str], asked: Asked) -> None:
    before = asked.settle()
    record().write_text(damage(json.loads(record().read_text())))
    assert (asked.digest(), asked.reads) == (before, 3)


def test_bytes_that_are_read_in_any_case_put_a_false_record_right(asked: Asked) -> None:
    """As after a disk has lost bits, which no file system tells."""
    before = asked.settle()
    record().write_text(json.dumps(json.loads(record().read_text()) | {"digest": "0" * 64}))
    assert asked.digest() == "0" * 64
    assert asked.digest(believe=False) == asked.digest() == before


class CoarseFile:
    """Content that a file system with a clock of so many ns knows the change of. No two contents are the same."""

    def __init__(self, clock: Clock, tick: int) -> None:
        self.clock, self.tick, self.content, self.changed = clock, tick, 0, clock.now // tick

    def write(self) -> None:
        self.content, self.changed = self.content + 1, self.clock.now // self.tick

    def hashed(self) -> str:
        return hashlib.sha256(str(self.content).encode()).hexdigest()


def false_answers(clock: Clock, monkeypatch: pytest.MonkeyPatch, draw: random.Random) -> int:
    """Of one history of writes and questions, close together and far apart, some writes in the middle of reading."""
    file, wrong, is_read = CoarseFile(clock, 2 * SECOND), 0, False
    monkeypatch.setattr(remembered_digest, "_stamps", lambda _: str(file.changed))
    place = Path(str(draw.random()))

    def read() -> str:
        nonlocal is_read
        is_read, found = True, file.hashed()
        clock.now += draw.choice([0, SECOND // 10])
        if draw.random() < 0.3:
            file.write()
        return found

    for _ in range(20):
        clock.now += int(draw.choice([0, 0.1, 1, 2, 30, 61, 3600]) * SECOND)
        if draw.random() < 0.4:
            file.write()
            continue
        is_read = False
        found = digest_of(place, "file", [], read)
        wrong += not is_read and found != file.hashed()
    return wrong


def test_no_history_of_writes_within_a_tick_of_the_clock_is_told_wrongly(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 400 histories none; without the minute, some: the histories could show it."""
    draw, kept = random.Random(0), {}
    monkeypatch.setattr(json_object, "read", lambda file: kept.get(file, {}))
    monkeypatch.setattr(cache, "write", kept.__setitem__)
    assert sum(false_answers(clock, monkeypatch, draw) for _ in range(400)) == 0
    monkeypatch.setattr(remembered_digest, "SETTLED_NS", 0)
    assert sum(false_answers(clock, monkeypatch, draw) for _ in range(400)) > 0


def test_what_many_write_at_once_is_read_whole(tmp_path: Path) -> None:
    file = tmp_path / "there" / "x.json"

    def work(number: int) -> bool:
        content = {"number": number, "long": "x" * 10_000 * number}
        for _ in range(50):
            cache.write(file, content)
            found = json_object.read(file)
            if len(found.get("long", "")) != 10_000 * found["number"]:
                return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(1, 5)))
    assert [each.name for each in file.parent.iterdir()] == ["x.json"]
