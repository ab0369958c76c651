"""releases/consoles/*.toml: what each system says when it dies, and what only looks like it."""

from __future__ import annotations

from pathlib import Path

import pytest

from behunt.catalogue.load import operating_systems
from behunt.errors import CatalogueError
from behunt.hosts.console_text import Cleaner
from behunt.hosts.dialogue import Row, Watched, Window
from behunt.runners.vm.consoles import deaths, dialogue, row


def death(system: str, text: str) -> tuple[str, str]:
    """What a console that shows `text` tells about the life of its machine, and the line."""
    window = Window()
    window.add(Cleaner().feed(text.encode()))
    rows = [Watched(each, 0) for each in deaths(system)]
    while (hit := window.first(rows)) is not None:
        if hit[0].seen >= hit[0].row.times:
            return hit[0].row.reached, hit[1]
    return "", ""


def test_every_system_of_the_catalogue_has_its_words() -> None:
    for system in operating_systems():
        assert {each.reached for each in deaths(system)} >= {"panicked", "unbootable", "looping"}
        assert {each.reached for each in dialogue(system, "login")} == {"", "shell", "refused"}
        assert dialogue(system, "boot")[0].reached == "login"


@pytest.mark.parametrize(
    ("system", "text", "state", "said"),
    [
        # FreeBSD CURRENT stops in its debugger, 4.x has another one.
        (
            "freebsd",
            "panic: page fault\r\ncpuid = 0\r\n",
            "panicked",
            "panic: page fault",
        ),
        ("freebsd", "login: panic: x\r\nother CPU\r\nKDB: enter: panic\r\n", "panicked", None),
        ("freebsd", 'panic: ffs_blkfree\r\nDebugger("panic")\r\n', "panicked", None),
        ("freebsd", "\r\nFatal trap 12: page fault while in kernel mode\r\n", "panicked", None),
        ("freebsd", "Stopped at kdb_enter+0x6b:\r\ndb> ", "panicked", "db>"),
        ("freebsd", "'help' for more detailed help.\r\nOK ", "unbootable", None),
        ("freebsd", "\r\nmountroot> ", "unbootable", "mountroot>"),
        ("freebsd", "can't load 'kernel'\r\n", "unbootable", None),
        ("dragonfly", "panic: assertion\r\ncpuid = 1\r\n", "panicked", "panic: assertion"),
        (
            "openbsd",
            "login: panic: attempt to execute user address 0x0 in supervisor mode\r\n"
            "Stopped at      db_enter+0x18:  addq    $0x8,%rsp\r\n",
            "panicked",
            "login: panic: attempt to execute user address 0x0 in supervisor mode",
        ),
        ("openbsd", "panic: trap type 6\r\nStarting stack trace...\r\n", "panicked", None),
        ("openbsd", "\r\nddb{0}> ", "panicked", "ddb{0}>"),
        ("openbsd", "kernel: page fault trap, code=0\r\n", "panicked", None),
        ("openbsd", " failed(22). will try /bsd\r\nTurning timeout off.\r\n", "unbootable", None),
        (
            "netbsd",
            "[   1.0000000] fatal breakpoint trap in supervisor mode\r\n",
            "panicked",
            "[   1.0000000] fatal breakpoint trap in supervisor mode",
        ),
        (
            "netbsd",
            "[ 9.1] panic: kernel diagnostic assertion failed\r\n"
            "[ 9.1] cpu0: Begin traceback...\r\n",
            "panicked",
            "[ 9.1] panic: kernel diagnostic assertion failed",
        ),
        ("netbsd", "leave\r\ndb{1}> ", "panicked", "db{1}>"),
        ("netbsd", "root device (default wd0a): ", "unbootable", None),
        (
            "debian",
            "[    3.1] Kernel panic - not syncing: Attempted to kill init!\r\n",
            "panicked",
            "[    3.1] Kernel panic - not syncing: Attempted to kill init!",
        ),
        ("debian", "[    3.1] Oops: 0002 [#1] PREEMPT SMP NOPTI\r\n", "panicked", None),
        ("debian", "[    3.1] invalid opcode: 0000 [#1] SMP\r\n", "panicked", None),
        (
            "debian",
            "BUG: unable to handle page fault for address: 0000\r\n",
            "panicked",
            None,
        ),
        ("debian", "\r\n(initramfs) ", "unbootable", "(initramfs)"),
        ("omnios", "\r\npanic[cpu0]/thread=fffffe0001: \r\nBAD TRAP\r\n", "panicked", None),
        ("omnios", "Loaded modules: [ unix ]\r\n[0]> ", "panicked", "[0]>"),
        ("omnios", "\r\nEnter user name for system maintenance (", "unbootable", None),
        ("debian", "error: no such partition.\r\ngrub rescue> ", "unbootable", None),
        ("freebsd", "BdsDxe: No bootable option or device was found.", "unbootable", None),
        ("openbsd", "No bootable device.\r\n", "unbootable", None),
        ("freebsd", "\r\nFreeBSD/x86 bootstrap loader, Revision 1.1\r\n" * 2, "rebooted", None),
        ("openbsd", ">> OpenBSD/amd64 BOOT 3.65\r\n" * 2, "rebooted", None),
        ("netbsd", ">> NetBSD/x86 BIOS Boot, Revision 5.11 (x)\r\n" * 2, "rebooted", None),
        ("debian", "debian login: \r\n" * 6, "looping", "debian login:"),
    ],
)
def test_deaths(system: str, text: str, state: str, said: str | None) -> None:
    assert death(system, text)[0] == state
    assert said is None or death(system, text)[1] == said


@pytest.mark.parametrize("system", ["freebsd", "dragonfly", "openbsd", "netbsd"])
@pytest.mark.parametrize(
    "text",
    [
        "panic: runtime error: index out of range [5]\r\n\r\ngoroutine 1 [running]:\r\nmain()\r\n",
        "thread 'main' panicked at 'panic: no'\r\nok 1 - kernel panic: none\r\n",
        "OK 1\r\nOK \r\nmy db> \r\nfatal error in supervisor\r\nLast login: today\r\n",
    ],
)
def test_what_a_test_prints_kills_no_machine(system: str, text: str) -> None:
    assert death(system, text * 7) == ("", "")


def test_one_banner_is_enough_of_a_machine_that_is_up() -> None:
    def times(*, up: bool) -> set[int]:
        return {r.times for r in deaths("freebsd", up=up) if r.reached == "rebooted"}

    assert (times(up=False), times(up=True)) == ({2}, {1})
    assert any(each.times == 6 for each in deaths("freebsd", up=True))


def test_neither_banner_nor_login_is_the_death_of_a_machine_that_may_reboot() -> None:
    may = deaths("freebsd", up=True, reboots=True)
    assert {each.reached for each in may} == {"panicked", "unbootable"}


NOISE = "ugen0.1: <Intel> at usbus0\r\n"


@pytest.mark.parametrize(
    "shown",
    [
        "\r\nFreeBSD/amd64 (host) (ttyu0)\r\n\r\nlogin: ",
        "\r\r\n\r\r\n\rlogin: ",
        "\r\nDebian GNU/Linux 12 debian-12 ttyS0\r\n\r\ndebian-12 login: ",
        "\x1b[1mbuild.example.org login: ",
        "(none) login: ",
        "\r\nomnios console login: ",
        f"\r\n{NOISE}login: ",
        f"\r\nlog{NOISE}in: ",
        f"\r\ndebian-12 logi{NOISE}n: ",
        f"\r\ndebi{NOISE}an-12 login: ",
        f"\r\nlogin: {NOISE}",
    ],
)
def test_what_asks_for_a_login(shown: str) -> None:
    assert prompts(shown) == 1


@pytest.mark.parametrize(
    "line",
    [
        "Nov 21 01:04:44 fbsd132 login: ROOT LOGIN (root) ON ttyu0",
        "Nov  1 01:04:44 host login: 1 LOGIN FAILURE ON console",
        "2026-11-21T01:04:44.123Z host login: ROOT LOGIN (root) ON tty00",
        "Nov 21 01:04:44 fbsd132 login[740]: ROOT LOGIN (root) ON ttyu0",
        "Last login: Sat Nov 21 01:04:44 on ttyu0",
        "Last failed login: Sat Nov 21 01:04:44 on ttyS0",
    ],
)
def test_what_only_tells_of_one(line: str) -> None:
    assert prompts(f"{line}\r\n" * 7) == 0


@pytest.mark.parametrize(("name", "shown"), [("boot", 1), ("login", 1), ("panic", 1)])
def test_a_real_console_asks_as_often_as_it_did(name: str, shown: int) -> None:
    said = Path(__file__).parents[1] / "transcripts" / f"console-{name}-13.2.log"
    assert prompts(said.read_text(encoding="utf-8", errors="replace")) == shown


def prompts(text: str) -> int:
    """How many logins each of the rows for one sees in `text`, which all of them agree on."""
    logins = [*dialogue("any", "boot"), dialogue("any", "login")[0]]
    rows = [*logins, *(row for row in deaths("any") if row.reached == "looping")]
    assert len(rows) == 3
    seen = {len(found(each, text)) for each in rows}
    assert len(seen) == 1
    return seen.pop()


def found(of: Row, text: str) -> list[str]:
    window, watched = Window(), [Watched(of, 0)]
    window.add(Cleaner().feed(text.encode()))
    return [said for _, said in iter(lambda: window.first(watched), None)]


def test_what_is_not_known_is_said() -> None:
    with pytest.raises(CatalogueError, match="what a console of plan9 shows"):
        deaths("plan9")
    with pytest.raises(CatalogueError, match="no dialogue dance for debian"):
        dialogue("debian", "dance")


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({"text": "a", "sends": "b"}, "a row with sends"),
        ({"text": "a", "send": 7}, "send of a row is not a str"),
        ({"text": "a", "send": "b", "times": "2"}, "times of a row is not a int"),
        ({"regex": "(", "send": "b"}, "is no regular expression"),
    ],
)
def test_faults_in_data_name_the_file(table: dict[str, object], why: str) -> None:
    with pytest.raises(CatalogueError, match=f"^x.toml: login.*{why}"):
        row(table, "x.toml: login")


def test_a_good_row() -> None:
    assert row({"text": "a", "send": "b"}, "") == Row(text="a", send="b")
