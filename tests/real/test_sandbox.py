"""What a tame sandbox keeps from reaching the host, seen from inside as root."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest
from tiny_root import tiny_root

from behunt.errors import HostError
from behunt.hosts import spawner
from behunt.hosts.confined import Confined
from behunt.hosts.sandbox import ALL_NAMESPACES, Bind, Sandbox

pytestmark = pytest.mark.real

EPERM, EACCES, EROFS = errno.EPERM, errno.EACCES, errno.EROFS

# Through libc, so that the kernel answers and no tool before it. 42: it worked.
CALL = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
try:
    if (EXPRESSION) == -1:
        sys.exit(ctypes.get_errno())
except OSError as error:
    sys.exit(error.errno)
sys.exit(42)
"""


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    (tmp_path / "stage").mkdir()
    return tmp_path / "stage"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tiny_root(tmp_path / "root")


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    (tmp_path / "shared").mkdir()
    return tmp_path / "shared"


def sandbox(root: Path, stage: Path, *binds: Bind, hostname: str = "") -> Sandbox:
    return Sandbox(
        ALL_NAMESPACES,
        lower=(str(root),),
        stage=str(stage),
        binds=binds,
        hostname=hostname,
        tame=True,
    )


@pytest.fixture
def tiny(root: Path, stage: Path, shared: Path) -> Iterator[Confined]:
    with Confined(sandbox(root, stage, Bind(str(shared), "/shared"), hostname="inside")) as inside:
        yield inside


@pytest.fixture
def here(stage: Path, shared: Path) -> Iterator[Confined]:
    """This machine's own programs, in a sandbox."""
    with Confined(sandbox(Path("/"), stage, Bind(str(shared), "/shared"))) as inside:
        yield inside


@pytest.mark.parametrize(
    ("expression", "refusal"),
    [
        ("libc.mount(b'tmpfs', b'/tmp', b'tmpfs', 0, b'')", EPERM),
        ("libc.mount(b'none', b'/proc/sys', b'', 4096 | 32, b'')", EPERM),
        ("libc.umount2(b'/proc/sys', 2)", EPERM),
        ("libc.unshare(0x20000)", EPERM),
        ("libc.setns(os.open('/proc/1/ns/mnt', os.O_RDONLY), 0)", EACCES),
        ("libc.ptrace(16, 1, 0, 0)", EPERM),
        ("libc.sethostname(b'mine', 4)", EPERM),
        ("libc.reboot(0x01234567)", EPERM),
        ("libc.settimeofday((ctypes.c_long * 2)(), None)", EPERM),
        ("libc.swapon(b'/etc/passwd', 0)", EPERM),
        ("libc.open_by_handle_at(-100, b'\\10\\0\\0\\0\\1\\0\\0\\0' + b'x' * 8, 0)", EPERM),
        ("os.open('/proc/sys/kernel/hostname', os.O_WRONLY)", EROFS),
        ("os.open('/proc/sys/kernel/panic', os.O_WRONLY)", EROFS),
        ("os.open('/sys/kernel/uevent_helper', os.O_WRONLY | os.O_CREAT)", EROFS),
        ("os.open('/proc/1/mem', os.O_RDONLY)", EACCES),
        ("os.open('/proc/1/root/etc', os.O_RDONLY)", EACCES),
        ("os.open('/proc/1/fd/0', os.O_RDONLY)", EACCES),
    ],
)
def test_the_kernel_refuses(here: Confined, expression: str, refusal: int) -> None:
    tried = here.run(["python3", "-c", CALL.replace("EXPRESSION", expression)])
    assert (tried.code, tried.err) == (refusal, "")


def test_no_module_can_be_loaded(here: Confined) -> None:
    call = CALL.replace("EXPRESSION", "libc.init_module(b'x' * 64, 64, b'')")
    assert here.run(["python3", "-c", call]).code in {EPERM, errno.ENOSYS}  # ENOSYS: no modules


@pytest.mark.parametrize("path", ["/proc/sysrq-trigger", "/proc/kcore", "/proc/keys"])
def test_what_a_kernel_shows_of_itself_is_empty_or_read_only(tiny: Confined, path: str) -> None:
    assert tiny.run(["sh", "-c", f"head -c 16 {path}"]).out == ""
    assert tiny.run(["sh", "-c", f"[ -c {path} ] || ! echo h >{path}"]).code == 0


@pytest.mark.parametrize("directory", ["/", "/tmp", "/dev", "/dev/shm", "/shared"])
@pytest.mark.parametrize("node", ["c 1 1", "c 1 3", "b 7 0"])
def test_a_device_node_can_be_made_but_not_opened(
    tiny: Confined, directory: str, node: str
) -> None:
    made = f"cd {directory} && mknod node {node}"
    assert tiny.run(["sh", "-c", made]).code == 0
    opened = tiny.run(["sh", "-c", f"exec 9<{directory}/node"])
    assert opened.code != 0
    assert "Permission denied" in opened.err


def test_the_usual_devices_work(tiny: Confined) -> None:
    script = "echo x >/dev/null; head -c 3 /dev/zero | wc -c; head -c 3 /dev/urandom | wc -c"
    assert tiny.run(["sh", "-c", script], check=True).out.split() == ["3", "3"]
    assert "No space left" in tiny.run(["sh", "-c", "echo x >/dev/full"]).err


def test_a_device_of_the_host_keeps_its_mode(tiny: Confined, tmp_path: Path) -> None:
    """A release that runs MAKEDEV, or a trap for the one who puts files in."""
    before = {name: Path(f"/dev/{name}").stat().st_mode for name in ("null", "tty", "urandom")}
    tiny.run(["sh", "-c", "cd /dev; chmod 600 null tty; chown 1 null; ln -s null x"], check=True)
    (tmp_path / "sent").touch(mode=0o700)
    for trap in ("/dev/null", "/dev/x"):
        with pytest.raises(HostError, match="not a regular file"):
            tiny.put(tmp_path / "sent", PurePosixPath(trap))
    assert before == {name: Path(f"/dev/{name}").stat().st_mode for name in before}
    assert Path("/dev/null").stat().st_uid == 0


def test_no_signal_is_ignored_and_no_capability_comes_by_another_way(tiny: Confined) -> None:
    """Python ignores PIPE and XFSZ; a shell's child would see that."""
    rows = tiny.run(["cat", "/proc/self/status"], check=True).out.splitlines()
    status = {name: value.strip() for name, _, value in (row.partition(":") for row in rows)}
    for name in ("SigBlk", "CapInh", "CapAmb"):
        assert int(status[name], 16) == 0, name
    # 32 and 33 are glibc's own: its posix_spawn, which make uses, leaves them ignored, and
    # sigaction(3) does not let anyone change that.
    assert int(status["SigIgn"], 16) & ~(1 << 31 | 1 << 32) == 0
    assert status["CapEff"] == status["CapPrm"] == status["CapBnd"]
    assert int(status["CapEff"], 16) & (1 << 21 | 1 << 16 | 1 << 17) == 0  # ADMIN MODULE RAWIO


def test_there_is_no_network_but_the_loopback(tiny: Confined) -> None:
    interfaces = tiny.run(["sh", "-c", "tail -n +3 /proc/net/dev"], check=True).out
    assert interfaces.split(":")[0].strip() == "lo"
    assert len(tiny.run(["sh", "-c", "cat /proc/net/route"]).out.splitlines()) == 1  # the title
    away = tiny.run(["ping", "-c1", "-w1", "192.0.2.1"])
    assert "unreachable" in away.err
    assert tiny.run(["ping", "-c1", "127.0.0.1"]).code == 0


def test_a_socket_of_the_host_is_not_there(here: Confined, tmp_path: Path) -> None:
    """An abstract one has no file: only the network namespace keeps it apart."""
    name = f"\0behunt-{tmp_path}"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(name)
        listening.listen()
        code = f"import socket; socket.socket(socket.AF_UNIX).connect({name!r})"
        assert "ConnectionRefusedError" in here.run(["python3", "-c", code]).err


def test_no_process_of_the_host_is_seen(tiny: Confined) -> None:
    seen = tiny.run(["sh", "-c", "cd /proc && echo [0-9]*"]).out.split()
    assert seen[0] == "1"
    assert len(seen) == 2  # its keeper and the shell
    assert tiny.run(["kill", "-0", str(os.getpid())]).code != 0


def test_the_host_name_is_its_own(tiny: Confined) -> None:
    before = socket.gethostname()
    assert tiny.run(["hostname"]).out == "inside\n"
    assert socket.gethostname() == before != "inside"


# The classic way out: a directory open outside, a chroot deeper in, then up and up.
ESCAPE = """
import os
out = os.open('/', os.O_RDONLY)
os.mkdir('/deeper')
os.chroot('/deeper')
os.fchdir(out)
for _ in range(64):
    os.chdir('..')
os.chroot('.')
print(os.stat('/').st_dev, os.path.exists(WITNESS))
"""


def test_a_chroot_inside_leads_no_further_out(here: Confined, root: Path, tmp_path: Path) -> None:
    witness = tmp_path / "stage" / "m"  # in the sandbox's stage: only the host could see it
    tried = here.run(["python3", "-c", ESCAPE.replace("WITNESS", repr(str(witness)))], check=True)
    device, found = tried.out.split()
    assert found == "False"
    assert int(device) != Path("/").stat().st_dev
    assert int(device) != root.stat().st_dev


def test_set_uid_works_in_the_clone_and_not_in_what_is_shared(here: Confined, shared: Path) -> None:
    script = """
        for at in /tmp /shared; do
            cp "$(command -v id)" $at/id; chmod 4755 $at/id
            setpriv --reuid 65534 --clear-groups $at/id -u
        done
    """
    shared.chmod(0o755)
    assert here.run(["sh", "-c", script], check=True).out.split() == ["0", "65534"]


@pytest.mark.parametrize("namespaces", [ALL_NAMESPACES, ("mount", "net")])
def test_a_plain_directory_as_root_is_no_weaker(root: Path, namespaces: tuple[str, ...]) -> None:
    (root / "node").unlink(missing_ok=True)
    os.mknod(root / "node", stat.S_IFCHR | 0o666, os.makedev(1, 1))
    with Confined(Sandbox(namespaces, root=str(root), tame=True)) as inside:
        assert "Permission denied" in inside.run(["sh", "-c", "exec 9</node"]).err
        assert "Read-only" in inside.run(["sh", "-c", "echo >/proc/sys/kernel/panic"]).err
        assert inside.run(["sh", "-c", "echo kept >/kept"]).code == 0
    assert (root / "kept").read_text(encoding="ascii") == "kept\n"


def snapshot(directory: Path) -> dict[str, tuple[int, int, int, str]]:
    found = {}
    for path in [directory, *directory.rglob("*")]:
        status = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        digest = hashlib.sha256(content).hexdigest()
        found[str(path)] = (status.st_mode, status.st_mtime_ns, status.st_uid, digest)
    return found


def test_the_layer_below_is_never_written(root: Path, stage: Path) -> None:
    before = snapshot(root)
    script = """
        rm -r /bin/vi /root; chmod 700 /etc; chown 5 /tmp; echo x >/etc/new; echo x >>/dev/null
        busybox cp /bin/busybox /bin/again; touch -d 2001-01-01 /bin/busybox; mv /tmp /temp
    """
    with Confined(sandbox(root, stage)) as inside:
        assert inside.run(["busybox", "sh", "-c", script]).code == 0
        assert inside.run(["ls", "/root"]).code != 0
    assert snapshot(root) == before


def trap(root: Path, name: str, kind: str, victim: Path) -> None:
    """Lay a link or a file where a mount point is to be."""
    place = root / name
    if place.exists():
        shutil.rmtree(place)
    if kind == "resolving":
        (root / str(victim).lstrip("/")).mkdir(parents=True)
    if kind == "file":
        place.touch()
    else:
        upwards = "../" * 40 + str(victim).lstrip("/")
        place.symlink_to({"upwards": upwards, "loop": name}.get(kind, str(victim)))


def outcome(box: Sandbox) -> str:
    target = box.binds[0].target
    try:
        with Confined(box) as inside:
            said = inside.run(["sh", "-c", f"echo x >{target}/x && echo entered"])
            return said.out + said.err
    except HostError as error:
        return error.message


def mounts_of(path: Path) -> list[str]:
    rows = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    return [row for row in rows if str(path) in row]


@pytest.mark.parametrize("name", ["proc", "dev", "sys", "shared"])
@pytest.mark.parametrize("kind", ["dangling", "resolving", "upwards", "file", "loop"])
def test_a_root_full_of_traps_changes_nothing_on_the_host(
    tmp_path: Path, name: str, kind: str
) -> None:
    """Mount points that lead elsewhere end inside the root, or in one clear error."""
    root = tiny_root(tmp_path / "root")
    for directory in ("stage", "shared", "victim"):
        (tmp_path / directory).mkdir()
    (tmp_path / "victim/precious").touch()
    trap(root, name, kind, tmp_path / "victim")
    before, mounts = snapshot(tmp_path / "victim"), mounts_of(tmp_path)
    bind = Bind(str(tmp_path / "shared"), "/shared/made/by/us")
    said = outcome(sandbox(root, tmp_path / "stage", bind))
    assert said == "entered\n" or said.startswith("cannot enter the sandbox: ")
    assert (kind == "resolving") <= (said == "entered\n") <= (tmp_path / "shared/x").exists()
    assert snapshot(tmp_path / "victim") == before
    assert mounts_of(tmp_path) == mounts


def test_no_module_of_the_root_is_ever_imported(root: Path, stage: Path, tmp_path: Path) -> None:
    planted = 'open("/tmp/imported", "a").write(__name__)'
    lib = Path(os.__file__).parent
    packages = Path(spawner.__file__).parents[2]
    places = {Path("/"), lib, lib / "encodings", lib / "json", lib / "lib-dynload", packages}
    names = ("json", "ascii", "latin_1", "idna", "array", "traceback", "linecache", "struct")
    for place in {*places, *(Path(p) for p in sys.path if p.startswith("/"))}:
        directory = root / str(place).lstrip("/")
        directory.mkdir(parents=True, exist_ok=True)
        for name in (*names, "warnings", "tokenize", "typing", "__init__"):
            (directory / f"{name}.py").write_text(planted, encoding="ascii")
    with Confined(sandbox(root, stage)) as inside:
        assert inside.run(["no-such-program"]).started is False
        assert inside.run(["echo", "\udcff", "x" * 100_000], env={"a": "é"}).code == 0
        assert inside.run(["sleep", "1000"], timeout=0.1).timed_out
        inside.put(Path(__file__), PurePosixPath("/tmp/file"))
        inside.get(PurePosixPath("/tmp/file"), tmp_path / "back")
        assert inside.session.free("/") > 0
        for path in ("/none\udcff", "nul\0"):
            with pytest.raises(HostError):
                inside.get(PurePosixPath(path), tmp_path / "none")
        assert inside.run(["sh", "-c", "ls /tmp/imported; find / -name __pycache__"]).out == ""


def test_a_full_disk_is_an_error_inside_and_is_told(root: Path, stage: Path) -> None:
    box = Sandbox(ALL_NAMESPACES, lower=(str(root),), stage=str(stage), size=4 << 20, tame=True)
    with Confined(box) as inside:
        assert 3 << 20 < inside.session.free("/") <= 4 << 20
        full = inside.run(["dd", "if=/dev/zero", "of=/big", "bs=64k"])
        assert (full.code, "No space left on device" in full.err) == (1, True)
        assert inside.session.free("/") < 1 << 16
        with pytest.raises(HostError, match="No space left"):
            inside.put(Path("/bin/busybox"), PurePosixPath("/tmp/more"))
        inside.run(["rm", "/big"], check=True)
        assert inside.session.free("/") > 3 << 20
        with pytest.raises(HostError, match="No such file"):
            inside.session.free("/none")


@pytest.mark.parametrize("name", ["plain", "a:b", "a,b", "a b", "a\\b", "a\\:b,c d's\"$x"])
def test_changes_on_disk_outlive_the_sandbox_whatever_the_names(
    tmp_path: Path, stage: Path, name: str
) -> None:
    odd = tmp_path / name
    root = tiny_root(odd / "root")
    for part in ("upper", "work"):
        (odd / part).mkdir()
    box = Sandbox(
        ALL_NAMESPACES,
        lower=(str(root),),
        upper=str(odd / "upper"),
        work=str(odd / "work"),
        stage=str(stage),
        tame=True,
    )
    with Confined(box) as inside:
        inside.run(["sh", "-c", "echo kept >/etc/kept"], check=True)
    assert (odd / "upper/etc/kept").read_text(encoding="ascii") == "kept\n"
    with Confined(box) as inside:
        assert inside.run(["cat", "/etc/kept"], check=True).out == "kept\n"
    assert not (root / "etc/kept").exists()


def test_layers_lie_in_the_order_given(root: Path, stage: Path, tmp_path: Path) -> None:
    (tmp_path / "top/etc").mkdir(parents=True)
    (tmp_path / "top/etc/which").write_text("top", encoding="ascii")
    (root / "etc/which").write_text("bottom", encoding="ascii")
    layers = (str(tmp_path / "top"), str(root))
    with Confined(Sandbox(ALL_NAMESPACES, lower=layers, stage=str(stage))) as inside:
        assert inside.run(["cat", "/etc/which"]).out == "top"


def test_a_read_only_bind(root: Path, stage: Path, shared: Path) -> None:
    (shared / "given").write_text("given", encoding="ascii")
    bind = Bind(str(shared), "/deep/er/shared", read_only=True)
    with Confined(sandbox(root, stage, bind)) as inside:
        assert inside.run(["cat", "/deep/er/shared/given"]).out == "given"
        assert "Read-only" in inside.run(["touch", "/deep/er/shared/x"]).err


@pytest.mark.parametrize(
    "broken",
    [
        Sandbox(ALL_NAMESPACES, lower=("/no/such/layer",), stage="/tmp"),
        Sandbox(ALL_NAMESPACES, root="/no/such/root"),
        Sandbox(root="/no/such/root"),
        Sandbox(ALL_NAMESPACES, lower=("/",), stage="/no/such/stage"),
        Sandbox(ALL_NAMESPACES, lower=("/",), stage="/tmp", binds=(Bind("/no/such", "/x"),)),
        Sandbox(groups=("/no/such/group",)),
    ],
    ids=["lower", "mounted root", "root", "stage", "bind", "group"],
)
def test_what_cannot_be_entered_is_one_clear_error(broken: Sandbox) -> None:
    with pytest.raises(HostError, match=r"cannot enter the sandbox: .*No such file") as refused:
        Confined(broken)
    assert "behunt doctor" in refused.value.hint
    with Confined(Sandbox()) as inside:
        assert inside.run(["true"]).code == 0
