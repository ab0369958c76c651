"""What every Host must do with a command."""

from __future__ import annotations

import shlex
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from backends import Backend

from behunt.errors import HostError
from behunt.hosts.protocol import CLEAN_ENV, KEPT_OUTPUT, Host

HOSTILE = [
    "",
    " ",
    "two words",
    "it's",
    'say "hi"',
    "new\nline",
    "$HOME",
    "$(id)",
    "`id`",
    "a;b",
    "a&b|c>d",
    "-n",
    "--",
    "*",
    "\\",
    "tab\tand\rreturn",
    "Grüße 世界 🐡",
    "not UTF-8: \udcff\udc80",  # bytes FF 80, as os.fsdecode has them
]


def sh(script: str, *args: str) -> list[str]:
    return ["sh", "-c", script, "sh", *args]


def test_the_exit_code_comes_back(host: Host) -> None:
    ended = host.run(sh("exit 3"))
    assert (ended.code, ended.how, ended.started, ended.timed_out) == (3, "exit 3", True, False)
    assert host.run(["true"]).code == 0


@pytest.mark.parametrize(("signal", "number"), [("SEGV", 11), ("TERM", 15), ("PIPE", 13)])
def test_a_signal_is_a_negative_code(backend: Backend, signal: str, number: int) -> None:
    with backend.open() as host:
        ended = host.run(sh(f"kill -{signal} $$; exit 7"))
    if backend.process_1:
        assert ended.code == 7
    else:
        assert (ended.code, ended.how) == (-number, f"killed by SIG{signal}")
    assert (ended.out, ended.err) == ("", "")


def test_output_and_errors_are_kept_apart(host: Host) -> None:
    said = host.run(sh("echo out; echo err >&2; echo more"))
    assert (said.out, said.err) == ("out\nmore\n", "err\n")


def test_a_sink_gets_both_in_order(host: Host) -> None:
    got = bytearray()
    said = host.run(sh("for i in $(seq 300); do echo o$i; echo e$i >&2; done"), sink=got.extend)
    assert got.decode().split() == [f"{stream}{i}" for i in range(1, 301) for stream in "oe"]
    assert (said.out, said.err) == ("", "")


def test_a_large_input_comes_back_whole(host: Host) -> None:
    sent = bytes(range(256)) * 12_000
    got = bytearray()
    assert host.run(["cat"], stdin=sent, sink=got.extend).code == 0
    assert bytes(got) == sent


def test_input_that_nobody_reads_is_no_error(host: Host) -> None:
    assert host.run(["true"], stdin=b"x" * 3_000_000).code == 0


def test_a_file_is_input_as_well(host: Host, tmp_path: Path) -> None:
    given = tmp_path / "it's given"
    for content in (b"", bytes(range(256)) * 12_000):
        given.write_bytes(content)
        got = bytearray()
        assert host.run(["cat"], stdin=given, sink=got.extend).code == 0
        assert bytes(got) == content
    assert host.run(["true"], stdin=given).code == 0


def test_a_file_that_is_input_cannot_be_written_through_it(host: Host, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.write_text("given", encoding="ascii")
    host.run(sh("echo changed >/proc/self/fd/0; echo changed >/dev/stdin"), stdin=given)
    assert given.read_text(encoding="ascii") == "given"


@pytest.mark.parametrize("name", ["missing", ".", "plain/below"])
def test_what_is_no_file_is_no_input(host: Host, tmp_path: Path, name: str) -> None:
    (tmp_path / "plain").touch()
    with pytest.raises(HostError, match=str(tmp_path)):
        host.run(["cat"], stdin=tmp_path / name)
    assert host.run(["echo", "next"]).out == "next\n"


def test_without_input_there_is_an_end_of_file(host: Host) -> None:
    assert host.run(["cat"]).out == ""


def test_a_flood_goes_through_a_sink_and_is_cut_without_one(host: Host) -> None:
    flood = sh("yes 0123456 | head -c 50000000; echo last >&2")
    sizes: list[int] = []
    assert host.run(flood, sink=lambda data: sizes.append(len(data))).code == 0
    assert sum(sizes) == 50_000_000 + len("last\n")
    cut = host.run(flood)
    assert (len(cut.out), cut.err) == (KEPT_OUTPUT, "last\n")


def test_bytes_that_are_not_utf_8_are_shown_as_such(host: Host) -> None:
    assert host.run(sh(r"printf 'a\377z'")).out == "a\ufffdz"


def test_only_the_given_environment_is_seen(
    backend: Backend, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "of the user")
    said = host.run(["env"], env={"GIVEN": "a=b; $HOME\n", "HOME": "/elsewhere"})
    expected = {**CLEAN_ENV, "GIVEN": "a=b; $HOME\n", "HOME": "/elsewhere"}
    marks = [line for line in said.out.splitlines() if line.startswith("BEHUNT_")]
    assert len(marks) == backend.marks
    assert sorted(said.out.splitlines()) == sorted(
        "".join(f"{name}={value}\n" for name, value in expected.items()).splitlines() + marks
    )


def test_nothing_else_is_inherited(host: Host) -> None:
    assert host.run(sh("umask")).out.strip() == "0022"
    # A shell says "bad file descriptor" for one that is not open.
    probe = "for n in 3 4 5 6 7 8 9; do (eval : '>&'$n) && echo open: $n; done"
    assert host.run(sh(probe)).out == ""


def test_the_working_directory(backend: Backend) -> None:
    with backend.open() as host:
        odd = backend.place / "it's a $HOME"
        host.run(["mkdir", str(odd)], check=True)
        assert host.run(["pwd"]).out == "/\n"
        assert host.run(["pwd"], cwd=str(odd)).out == f"{odd}\n"
        missing = host.run(["true"], cwd=str(backend.place / "missing"))
    assert missing.code != 0
    if backend.started:
        assert not missing.started
        assert "working directory: No such file" in missing.how


def test_hostile_arguments_arrive_byte_for_byte(backend: Backend) -> None:
    for cwd in ("/", str(backend.place)):
        got = bytearray()
        with backend.open() as host:
            host.run(sh(r'for a; do printf "%s\0" "$a"; done', *HOSTILE), sink=got.extend, cwd=cwd)
        assert bytes(got).decode(errors="surrogateescape").split("\0") == [*HOSTILE, ""]


def test_a_very_long_command_line_works(host: Host) -> None:
    args = ["x" * 100_000] * 12  # 1.2 MB; one string may be 128 KiB, see execve(2)
    assert host.run(sh('echo "$#"; echo "${#12}"', *args)).out.split() == ["12", "100000"]
    assert host.run(sh("echo ${#BIG}"), env={"BIG": "y" * 120_000}).out == "120000\n"


def test_a_command_line_that_the_kernel_refuses_is_said_to_be_too_long(backend: Backend) -> None:
    with backend.open() as host:
        refused = host.run(["echo", "x" * 5_000_000])
        assert (refused.code, refused.started) == (127, False)
        assert "Argument list too long" in refused.how
        assert host.run(["echo", "next"]).out == "next\n"


@pytest.mark.parametrize("argv", [["true", "nul \0 byte"], [""]])
def test_what_is_no_command_line_never_starts(backend: Backend, argv: list[str]) -> None:
    with backend.open() as host:
        refused = host.run(argv)
        assert refused.code != 0
        assert refused.started is (argv == [""] and not backend.started)
        assert host.run(["echo", "next"]).out == "next\n"


def test_a_program_that_cannot_run_never_started(backend: Backend) -> None:
    place = backend.place
    cases = {
        "no-such-program": (127, "cannot execute no-such-program: No such file or directory"),
        f"{place}/missing": (127, f"cannot execute {place}/missing: No such file or directory"),
        f"{place}": (126, f"cannot execute {place}: Permission denied"),
        f"{place}/plain": (126, f"cannot execute {place}/plain: Permission denied"),
        f"{place}/old": (127, f"cannot execute {place}/old: the interpreter it asks for"),
    }
    make = 'cd "$1"; echo "#!/no/such/perl" >old; chmod 755 old; echo >plain; chmod 644 plain'
    with backend.open() as host:
        host.run(sh(make, str(place)), check=True)
        for program, (code, why) in cases.items():
            ended = host.run([program])
            assert ended.started is not backend.started
            if backend.started:
                assert ended.code == 127
                assert ended.how.startswith(why)
            else:
                assert ended.code == code
        assert host.run(["echo", "next"]).out == "next\n"


def test_check_names_the_command_and_the_last_it_said(host: Host) -> None:
    with pytest.raises(HostError) as failed:
        host.run(sh("echo first >&2; echo why >&2; exit 3"), check=True)
    assert "exit 3" in failed.value.message
    assert failed.value.message.endswith(": why")
    assert shlex.join(sh("echo first >&2; echo why >&2; exit 3")) in failed.value.message
    assert failed.value.hint
    assert host.run(["echo", "fine"], check=True).out == "fine\n"


def test_outputs_of_parallel_runs_do_not_mix(backend: Backend) -> None:
    """One session belongs to one thread; a host without state may be used by all of them."""

    def twenty(thread: int) -> None:
        with backend.open() as host:
            for turn in range(20):
                word = f"{thread}.{turn}"
                said = host.run(sh('cat; echo "$1"; echo "e$1" >&2', word), stdin=word.encode())
                assert (said.code, said.out, said.err) == (0, f"{word}{word}\n", f"e{word}\n")

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(twenty, range(8))) == [None] * 8


def test_wrap_is_a_command_line_that_contains_the_command(host: Host) -> None:
    wrapped = host.wrap(["echo", "it's"])
    assert "echo" in " ".join(wrapped)
    assert shlex.split(shlex.join(wrapped)) == wrapped
