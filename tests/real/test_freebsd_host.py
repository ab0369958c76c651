"""docs/freebsd-host.md, typed as it stands, and a hunt that is killed: by ssh, into csh.

The host is tests/stand_ins/freebsd-13.2, which tells how far that goes.
"""

from __future__ import annotations

import re
import shlex
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sshd
from behunt_cli import Behunt, Done
from release_sets import freebsd_world, kernel_file, manifest, txz
from running import Running

from behunt.hosts.ssh import SshHost

pytestmark = pytest.mark.real

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs/freebsd-host.md"
# Mounted where the PATH of a remote command begins; it goes with the server.
_LOGIN = """\
#!/bin/sh
mountpoint -q /usr/local/sbin || mount --bind {programs} /usr/local/sbin
exec /bin/csh "$@"
"""
_SSH = '#!/bin/sh\nexec /usr/bin/ssh -F {config} "$@"\n'
_PLACE = {"BEHUNT_HOST": sshd.ALIAS, "BEHUNT_STORE": "zfs:zroot/behunt"}
_LEFT = "jls; mount -p | grep behunt; ls -A /run/behunt/*; zfs list -H -r zroot/behunt"
_RUNS = "pgrep -f '[s]leep 4711' >/dev/null"


@dataclass(frozen=True)
class Lab:
    """behunt here; a FreeBSD there, which has sets in `pub`."""

    behunt: Behunt
    host: SshHost
    pub: Path

    def type(self, line: str) -> Done:
        program, *words = shlex.split(line.replace(" /pub", f" {self.pub}"))
        assert program == "behunt"
        return self.behunt(*words, env=_PLACE)

    def there(self, script: str) -> list[str]:
        return self.host.run(["sh", "-c", script]).out.splitlines()


def publish(directory: Path, version: str) -> None:
    """The sets of a release that runs here; the oldest has a name server."""
    at = directory / f"FreeBSD-Archive/old-releases/amd64/{version}-RELEASE"
    at.mkdir(parents=True)
    world = freebsd_world(directory.parent / f"world-{version}", version, runs=True)
    (world / "usr/sbin").mkdir()
    if version == "9.3":
        (world / "usr/sbin/named").symlink_to("/bin/true")
    kernel = directory.parent / f"kernel-{version}"
    kernel_file(kernel / "boot/kernel/kernel", version)
    manifest(at, {"base": txz(at, "base", world), "kernel": txz(at, "kernel", kernel)})


@pytest.fixture
def lab(tmp_path: Path, behunt: Behunt, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    login = tmp_path / "login"
    login.write_text(_LOGIN.format(programs=TESTS / "stand_ins/freebsd-13.2"))
    login.chmod(0o755)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nothing is fetched
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    for version in ("9.3", "11.1", "13.2"):
        publish(tmp_path / "pub", version)
    with sshd.running(tmp_path, shell=str(login)) as server, server.host() as host:
        ssh = tmp_path / "bin/ssh"
        ssh.write_text(_SSH.format(config=server.config))
        ssh.chmod(0o755)
        yield Lab(behunt, host, tmp_path / "pub")


def blocks(kind: str) -> list[str]:
    """What the page has between ```kind and ```, in order."""
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_the_page_is_typed_as_it_stands(lab: Lab) -> None:
    [script] = [block for block in blocks("sh") if block.startswith("#!")]
    (lab.behunt.place / "test.sh").write_text(script)
    (lab.behunt.place / "test.sh").chmod(0o755)
    typed: dict[str, Done] = {}
    for line in "".join(blocks("sh")).splitlines():
        if line.startswith("behunt ") and not line.endswith(" passwd"):  # no terminal here
            typed[line] = done = lab.type(line)
            # What lies between the two releases is not there.
            assert done.code == (3 if "bisect" in line else 0), (line, done.err)
    [hunt] = [done for line, done in typed.items() if "bisect" in line]
    assert "Broke after FreeBSD 9.3 and by FreeBSD 11.1" in hunt.out
    assert typed["behunt be create -l freebsd zroot/behunt/test"].out == (
        "created zroot/behunt/test\n"
    )
    assert "zroot/ROOT/test" in lab.there("zpool get bootfs zroot")[-1]
    assert lab.there(_LEFT) == [
        "zroot/behunt",
        "zroot/behunt/freebsd-11.1-amd64",
        "zroot/behunt/freebsd-9.3-amd64",
    ]


def test_what_a_killed_hunt_left_goes_with_the_next_behunt(
    lab: Lab, start: Callable[..., Running]
) -> None:
    slow = lab.behunt.place / "slow.sh"
    slow.write_text("#!/bin/sh\nsleep 4711 & sleep 4711\n")
    slow.chmod(0o755)
    place = ("--host", sshd.ALIAS, "--store", "zfs:zroot/behunt")
    words = ("--os", "freebsd", "--arch", "amd64", "--from", "9.3", "--to", "11.1")
    hunt = start("bisect", *place, *words, "--mirror", lab.pub, slow)
    hunt.tells_of("testing")
    lab.there(f"until {_RUNS}; do sleep 0.1; done")
    hunt.signalled(signal.SIGKILL)
    lab.there(f"while {_RUNS}; do sleep 0.1; done")
    left = " ".join(lab.there(_LEFT))
    assert re.search(r"name=bh_\w+_0 .*/dev devfs\s.*11\.1-amd64:run\.", left)
    assert lab.type("behunt be list").code == 0
    assert lab.there(_LEFT) == ["zroot/behunt", "zroot/behunt/freebsd-11.1-amd64"]
