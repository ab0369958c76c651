"""What goes wrong around a hunt: others in its home, killed processes, a full disk."""

from __future__ import annotations

import os
import shlex
import signal
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

import pytest
from behunt_cli import COMMAND, Behunt, executable
from running import FIRST_BAD, PATIENCE, Questions, Start, below, finished, hunt, nothing_is_left

pytestmark = pytest.mark.real


def test_two_in_one_home(behunt: Behunt, start: Start) -> None:
    """Both want the same boot environments at the same time, and each has its own answer."""
    words = hunt(behunt, "namespace", "")
    other = executable(behunt.place / "other.sh", "test $BEHUNT_VERSION -lt 11")
    first = start(*words, "--json", "--jobs", "2")
    second = start(*words[:-1], other, "--json", "--jobs", "2")
    ends = [first.ended(), second.ended()]
    assert [(end.code, end.json["first_bad"]) for end in ends] == [
        (0, FIRST_BAD),
        (0, "demo-11-amd64"),
    ]
    installs = [end.json["installs"] for end in ends]
    environments = behunt("be", "list", "--json").json
    assert sum(installs) == len(environments), "each release was installed once"
    nothing_is_left(behunt)


def test_a_session_that_is_being_run(behunt: Behunt, start: Start, questions: Questions) -> None:
    words = hunt(behunt, "none", questions.script)
    running = start(*words, "--json")
    questions.next()
    said = behunt.fails(1, "bisect", "--resume", says="session 1 is being run by another behunt")
    assert "wait for it to end" in said
    questions.answer()
    done = running.ended()
    assert (done.json["first_bad"], done.code) == (FIRST_BAD, 0)
    assert set(finished(behunt).values()) == {1}


def test_a_test_that_kills_what_runs_it(behunt: Behunt) -> None:
    """It is broken, asked once more, and unknown; the hunt goes on around it."""
    words = hunt(behunt, "none", "case $BEHUNT_VERSION in 6) kill -9 $PPID; sleep 1000;; esac")
    done = behunt(*words, "--json")
    assert (done.json["outcome"], done.code) == ("ambiguous", 3)
    (suspect,) = done.json["suspects"]
    assert suspect["release"] == "demo-6-amd64"
    assert suspect["reason"].startswith("broken: ")
    stored = behunt("results", "--release", "demo-6-amd64", "--json").json
    assert [(t["outcome"], t["attempt"]) for t in stored] == [("broken", 2), ("broken", 1)]
    nothing_is_left(behunt)


def test_a_test_that_kills_process_1_of_its_namespace(behunt: Behunt) -> None:
    words = hunt(behunt, "namespace", "kill -9 1; kill -9 -1 2>/dev/null")
    assert behunt(*words, "--json").json["outcome"] in {"found", "contradiction", "broken"}
    nothing_is_left(behunt)


@pytest.mark.parametrize("whom", ["spawner", "keeper", "both"])
def test_what_starts_the_tests_is_killed(
    behunt: Behunt, start: Start, questions: Questions, whom: str
) -> None:
    """The spawner is replaced; what its keeper ran is asked again."""
    words = hunt(behunt, "none", questions.script)
    running = start(*words, "--json")
    asked = questions.next()
    spawner, keeper, *_ = below(running.process.pid)
    for pid in {"spawner": [spawner], "keeper": [keeper], "both": [spawner, keeper]}[whom]:
        os.kill(pid, signal.SIGKILL)
    if whom != "spawner":
        assert questions.next() == asked
    questions.answer()
    done = running.ended()
    assert (done.json["first_bad"], done.code) == (FIRST_BAD, 0)
    first = [t["outcome"] for t in behunt("results", "--json").json][-2:]
    assert ("broken" in first) == (whom != "spawner")
    nothing_is_left(behunt)


def test_an_interrupted_hunt_whose_spawner_was_killed(
    behunt: Behunt, start: Start, questions: Questions
) -> None:
    running = start(*hunt(behunt, "none", questions.script))
    questions.next()
    os.kill(below(running.process.pid)[0], signal.SIGKILL)
    assert running.signalled(signal.SIGINT).code == 130
    nothing_is_left(behunt)


class Mirror(socketserver.ThreadingTCPServer):
    """What a bad mirror says to behunt, by name; apt waits for an answer for ever."""

    ANSWERS = MappingProxyType(
        {"hangs": b"HTTP/1.0 200 OK\r\n\r\nSuite: any\n", "404": b"HTTP/1.0 404 Not Found\r\n\r\n"}
    )

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.says = "hangs"
        self.waiting = threading.Semaphore(0)


class _Answer(socketserver.BaseRequestHandler):
    server: Mirror

    def handle(self) -> None:
        if b"Python-urllib" in self.request.recv(4096):
            self.request.sendall(self.server.ANSWERS[self.server.says])
        else:
            self.server.waiting.release()
            self.request.recv(1)  # until the other side has gone


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    with Mirror() as server:
        threading.Thread(target=server.serve_forever).start()
        yield server
        server.shutdown()


def test_interrupted_installations(behunt: Behunt, start: Start, mirror: Mirror) -> None:
    words = ("be", "install", "--mirror", mirror.url, "--jobs", "2")
    running = start(*words, "debian-11", "debian-12", "debian-13")
    for _ in range(2):
        assert mirror.waiting.acquire(timeout=PATIENCE), "mmdebstrap does not ask the mirror"
    waiting = start(*words, "debian-11")
    done = running.signalled(signal.SIGINT)
    assert (done.code, done.out) == (130, "")
    assert done.err.endswith("behunt: interrupted\n")
    assert mirror.waiting.acquire(timeout=PATIENCE), "whoever waited installs now"
    assert waiting.signalled(signal.SIGTERM).code == 130
    nothing_is_left(behunt)


def test_every_mirror_answers_404(behunt: Behunt, mirror: Mirror) -> None:
    """A hunt is broken then, and never finds a bad release."""
    mirror.says = "404"
    apt = behunt.place / "apt.conf"
    apt.write_text(f'Acquire::http::Proxy "{mirror.url}";')
    said = behunt.fails(
        1, "be", "install", "debian-12", env={"APT_CONFIG": str(apt)}, says="answered 404"
    )
    assert "name another with --mirror" in said
    test = executable(behunt.place / "test.sh", "exit 1")
    words = ("bisect", "--from", "debian-12", "--to", "13", "--json", test)
    done = behunt(*words, env={"APT_CONFIG": str(apt)})
    assert (done.code, done.json["outcome"], done.json["first_bad"]) == (5, "broken", None)
    assert "answered 404" in done.json["trials"][0]["reason"]
    nothing_is_left(behunt)


def test_a_wrong_signature(behunt: Behunt) -> None:
    keyring = "/usr/share/keyrings/debian-archive-removed-keys.gpg"
    words = ("be", "install", "--keyring", keyring, "debian-12")
    assert "name another mirror" in behunt.fails(1, *words, says="could not install debian-12")
    nothing_is_left(behunt)


FULL = """
set -e
mount -t tmpfs -o size=6m tmpfs {home}
{behunt} bisect --catalogue builds.toml --runner none --from 1 --to 17 test.sh >first 2>&1
dd if=/dev/zero of={home}/ballast bs=4096 2>/dev/null || true
set +e
{behunt} bisect --fresh --catalogue builds.toml --runner none --from 1 --to 17 test.sh >full 2>&1
echo $? >code
rm {home}/ballast
{behunt} results --json >results 2>&1
{behunt} bisect --catalogue builds.toml --runner none --from 1 --to 17 other.sh --json >later
exec cp -r {home}/runs runs
"""


def test_a_full_disk(behunt: Behunt) -> None:
    hunt(behunt, "none", "")
    executable(behunt.place / "other.sh", "test $BEHUNT_VERSION -lt 9")
    behunt.home.mkdir()
    script = FULL.format(home=behunt.home, behunt=shlex.join(COMMAND))
    subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        cwd=behunt.place,
        env=behunt.environment(),
        check=True,
        timeout=120,
    )
    said = {
        name: (behunt.place / name).read_text()
        for name in ("first", "full", "code", "results", "later")
    }
    assert "Broke in demo 7" in said["first"]
    assert said["code"] == "1\n", said["full"]
    assert "Traceback" not in said["full"]
    *_, what, how = said["full"].splitlines()
    assert what.startswith("behunt: ")
    assert "room" in how or "disk" in how
    assert '"demo-7-amd64"' in said["results"], "what was finished is there"
    assert '"demo-9-amd64"' in said["later"]
    assert list(Path(behunt.home).iterdir()) == []
