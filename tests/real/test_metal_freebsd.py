"""A FreeBSD on a machine of a lab, from the packet that wakes it to the verdict.

No FreeBSD runs here. What stands for its loader is a script of iPXE, which takes its root from
DHCP as that does and reads the kernel from there by NFS; for its kernel a Linux, and for rc(8) a
script that does with the files of the root what rc(8) does.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from behunt_cli import Behunt, executable
from guest import debian
from lab_net import LabNet
from lab_power import Switch, wake_listener
from release_sets import freebsd_world, manifest, txz

from behunt.runners.lab.linux import initrd_of
from behunt.runners.vm.linux import Kernel

pytestmark = pytest.mark.real

# Its NFS gives up now and then, so it is asked again.
PXEBOOT = """\
#!ipxe
set from nfs://${next-server}/${hostname}//boot/kernel
:kernel
kernel ${from}/linux initrd=initrd console=ttyS0 quiet behunt.mac=${net0/mac} \
behunt.ip=${net0/ip} behunt.mask=${net0/netmask} behunt.root=${root-path} behunt.init=/etc/rc \
|| goto kernel
:initrd
initrd ${from}/initrd || goto initrd
boot
"""
RC = """\
#!/bin/sh
PATH=/bin:/sbin
mount -t proc proc /proc
root=$(awk '$2 == "/" && $3 == "nfs" { print $1 }' /proc/mounts)
fail() { echo "rc: $*" >/dev/console; sbin/halt -pq; sleep 9; }
# as `mount -u /` takes it
[ "$(cat /etc/fstab)" = "$root / nfs rw,nolockd 0 0" ] || fail "fstab is not for $root"
grep -q "^vfs.root.mountfrom=\\"nfs:$root\\"" /boot/loader.conf.local || fail loader.conf.local
. /etc/rc.conf.local
[ "$network_interfaces" = lo0 ] || fail rc.conf.local
. /etc/rc.local
"""
# It takes its time, as one does that has yet to read programs and to write files back.
HALT = """\
#!/bin/sh
[ "$1" = -pq ] || exit
for second in 1 2 3; do
    sleep 1
    echo $second >>/behunt/halting && read -r _ </behunt/halting || exit
done
echo "halt: all is written" >/dev/console
echo o >/proc/sysrq-trigger
"""
UNAME = "#!/bin/sh\necho 13.2-RELEASE\n"
# A shell that takes programs where PATH has them: busybox prefers its own.
DASH = ("/bin/dash", "/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6")


@pytest.fixture(scope="module")
def pub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mirror that has the sets of a 13.2."""
    directory = tmp_path_factory.mktemp("mirror")
    of = debian.kernel(debian.root())
    (modules,) = (of / "lib/modules").iterdir()
    base = freebsd_world(directory / "base", "13.2", runs=True)
    boot = directory / "kernel/boot/kernel"
    boot.mkdir(parents=True)
    (boot / "kernel").write_bytes(b"\x7fELF")
    (boot / "linux").write_bytes((of / "vmlinuz").read_bytes())
    (boot / "initrd").write_bytes(initrd_of(Kernel(of / "vmlinuz", modules, modules.name)))
    (base / "boot/pxeboot").write_text(PXEBOOT)
    for name in DASH:
        (base / name.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(name, base / name.lstrip("/"))
    (base / "bin/uname").unlink()
    (base / "bin/sh").unlink()
    (base / "bin/sh").symlink_to("dash")
    (base / "sbin").mkdir()
    for name, script in {"etc/rc": RC, "sbin/halt": HALT, "bin/uname": UNAME}.items():
        (base / name).write_text(script)
        (base / name).chmod(0o755)
    place = directory / "pub/FreeBSD/releases/amd64/13.2-RELEASE"
    sets = {"base": base, "kernel": directory / "kernel"}
    manifest(place, {name: txz(place, name, tree) for name, tree in sets.items()})
    return directory / "pub"


def test_a_whole_run(tmp_path: Path, net: LabNet, pub: Path) -> None:
    (tmp_path / "place").mkdir()
    behunt = Behunt(tmp_path / "place", tmp_path / "home", prefix=net.enter)
    test = executable(
        behunt.place / "test.sh",
        'echo $BEHUNT_VERSION; cat beside; echo kept >"$BEHUNT_OUT/it"\n'
        'ln -s /etc/passwd "$BEHUNT_OUT/link"; echo "boot 7 s" >"$BEHUNT_METRICS"; exit 3',
    )
    (behunt.place / "beside").write_text("laid beside it\n")
    row = {"name": "node1", "mac": net.mac(1), "patience": 90, "power": {"method": "wol"}}
    words = ("run", "--runner", "metal", "--retries", "0", "--lab", net.write(row), "-p", pub)
    with Switch(net.metal(1)) as switch:
        with wake_listener("plug1", net.mac(1), switch.on, enter=net.enter):
            done = behunt(*words, "--file", "beside", "--json", "freebsd-13.2", test)
        trial = done.json
        assert (trial["outcome"], trial["exit_code"]) == ("failed", 3), (done, net.console(1))
        assert Path(trial["log"]).read_text() == "13.2\nlaid beside it\n"
        assert trial["kernel"] == "13.2-RELEASE"
        assert [path.name for path in Path(trial["out"]).iterdir()] == ["it"]
        assert trial["metrics"][0]["name"] == "boot"
        assert "halt: all is written" in net.console(1)
        assert "Power down" in net.console(1)


def test_a_machine_that_reboots_does_not_run_its_test_again(
    tmp_path: Path, net: LabNet, pub: Path
) -> None:
    (tmp_path / "place").mkdir()
    behunt = Behunt(tmp_path / "place", tmp_path / "home", prefix=net.enter)
    test = executable(
        behunt.place / "test.sh", "echo once; sync; echo b >/proc/sysrq-trigger; sleep 99"
    )
    row = {"name": "node1", "mac": net.mac(1), "patience": 90, "power": {"method": "wol"}}
    words = ("run", "--runner", "metal", "--retries", "0", "--lab", net.write(row), "-p", pub)
    with (
        Switch([word for word in net.metal(1) if word != "-no-reboot"]) as switch,
        wake_listener("plug1", net.mac(1), switch.on, enter=net.enter),
    ):
        trial = behunt(*words, "--json", "freebsd-13.2", test).json
    assert trial["outcome"] == "panicked", (trial, net.console(1))
    assert "the machine went down under the test: it rebooted" in trial["reason"]
    assert Path(trial["log"]).read_text().startswith("once\n")


def test_a_machine_whose_loader_is_not_there(tmp_path: Path, net: LabNet, pub: Path) -> None:
    (tmp_path / "place").mkdir()
    behunt = Behunt(tmp_path / "place", tmp_path / "home", prefix=net.enter)
    row = {"name": "node1", "mac": net.mac(1), "firmware": "uefi", "power": {"method": "wol"}}
    words = ("run", "--runner", "metal", "--retries", "0", "--lab", net.write(row), "-p", pub)
    trial = behunt(*words, "--json", "freebsd-13.2", "--", "true").json
    assert trial["outcome"] == "broken"
    assert "node1 boots by uefi, and the release has no /boot/loader.efi" in trial["reason"]
