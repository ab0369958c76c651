"""What a machine of a lab costs, beside the bare chain: the same servers, started by hand.

Both boot the same kernel, initial RAM disk and root over the network, on a QEMU with an empty
disk, and power off. They work in turns, in a network namespace; the fastest counts, as what
disturbs a processor that is emulated only slows it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from behunt import catalogue
from behunt.drive.installing import ensure
from behunt.drive.lab import opened
from behunt.netboot.lab import lab_of
from behunt.runners.lab.job import JOB, job
from behunt.runners.metal import MetalRunner, nobody
from behunt.runners.protocol import AT
from behunt.runners.vm.job import LINUX
from behunt.storage.home import Home

CHAIN = 1.3  # at most, times the bare chain
MAC, HERE, THERE = "52:54:00:77:00:01", "10.77.0.1", "10.77.0.51"
NETWORK = {"interface": "lab0", "address": f"{HERE}/24", "ipv6": "fd77::1/64"}
BIOS, UEFI = "bios", "uefi"
_OVMF = Path("/usr/share/OVMF")
_NET = f"""
set -e
ip link set lo up
ip link add lab0 type bridge
ip address add {HERE}/24 dev lab0
ip address add fd77::1/64 dev lab0 nodad
ip tuntap add dev metal mode tap
ip link set metal master lab0 up
ip link set lab0 up
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/lib/nfs
mkdir -p /run/rpcbind /run/ganesha /var/lib/nfs/ganesha
exec "$@"
"""
_GANESHA = """
NFS_CORE_PARAM {{ Protocols=3; NFS_Port=2049; MNT_Port=20048; Enable_NLM=false;
    Enable_RQUOTA=false; Bind_addr={here}; mount_path_pseudo=true; }}
EXPORT_DEFAULTS {{ Access_Type=RW; Squash=No_Root_Squash; SecType=sys; Transports=TCP; }}
EXPORT {{ Export_Id=1; Path={root}; Pseudo=/bare; FSAL {{ Name=VFS; }} }}
"""
_SCRIPT = """#!ipxe
kernel vmlinuz initrd=initrd {words} panic=30
initrd initrd
boot
"""


def qemu(firmware: str, scratch: Path) -> subprocess.Popen[bytes]:
    """The empty machine, that boots from the network."""
    card = f"virtio-net-pci,netdev=net,mac={MAC}"
    argv = [
        *("qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-cpu", "max", "-m", "1024"),
        *("-nodefaults", "-display", "none", "-no-reboot", "-boot", "n"),
        *("-netdev", "tap,id=net,ifname=metal,script=no,downscript=no"),
        *("-device", card if firmware == BIOS else f"{card},romfile="),
    ]
    if firmware == UEFI:
        variables = shutil.copy(_OVMF / "OVMF_VARS_4M.fd", scratch / "variables")
        flash = "if=pflash,format=raw"
        argv += ["-drive", f"{flash},readonly=on,file={_OVMF / 'OVMF_CODE_4M.fd'}"]
        argv += ["-drive", f"{flash},file={variables}", "-device", "virtio-rng-pci"]
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL)


def bare(firmware: str, lower: str, place: Path) -> float:
    """Seconds from the start of the servers until the machine is off."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(dir="/tmp") as scratch, contextlib.ExitStack() as stack:
        directory = Path(scratch)
        root = stack.enter_context(_mounted(lower, directory))
        for argv in _servers(place, directory, root):
            server = stack.enter_context(subprocess.Popen(argv, cwd=directory / "www"))
            stack.callback(server.terminate)
            if argv[0] == "rpcbind":  # the next one asks it
                _until(lambda: Path("/run/rpcbind.sock").exists(), "rpcbind")
        log = directory / "ganesha.log"
        _until(lambda: "NFS SERVER INITIALIZED" in log.read_text(errors="replace"), "nfs-ganesha")
        with qemu(firmware, directory) as machine:
            machine.wait(300)
        if not (root / "behunt/.told").read_text().endswith("done\n"):
            sys.exit("the bare chain brought no answer")
    return time.perf_counter() - began


@contextlib.contextmanager
def _mounted(lower: str, directory: Path) -> Iterator[Path]:
    """A clone, with the job in it."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", directory], check=True)
    root = directory / "root"
    for name in ("upper", "work", "root", "www"):
        (directory / name).mkdir()
    layers = f"lowerdir={lower},upperdir={directory}/upper,workdir={directory}/work"
    options = f"{layers},index=on,nfs_export=on,xino=on"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", root], check=True)
    script = root / AT.relative_to("/") / JOB
    script.parent.mkdir()
    script.write_text(job(LINUX, ("true",), {}, "/", run="1", hostname="bare"))
    script.chmod(0o755)
    try:
        yield root
    finally:
        subprocess.run(["umount", "--lazy", root], check=True)
        subprocess.run(["umount", "--lazy", directory], check=True)


def _servers(place: Path, directory: Path, root: Path) -> list[list[str]]:
    for name in ("vmlinuz", "initrd"):
        (directory / "www" / name).symlink_to(place / name)
    words = f"behunt.mac={MAC} behunt.ip={THERE} behunt.mask=255.255.255.0"
    script = _SCRIPT.format(words=f"{words} behunt.root={HERE}:/bare")
    (directory / "www/boot.ipxe").write_text(script)
    (directory / "ganesha.conf").write_text(_GANESHA.format(here=HERE, root=root))
    lines = (
        f"rpcbind -f -h {HERE}",
        f"ganesha.nfsd -F -f {directory}/ganesha.conf -L {directory}/ganesha.log"
        f" -p {directory}/ganesha.pid",
        f"{sys.executable} -m http.server --bind {HERE} 8080",
        "dnsmasq --keep-in-foreground --conf-file=/dev/null --interface=lab0 --bind-interfaces"
        f" --port=0 --user=root --dhcp-leasefile={directory}/leases --dhcp-host={MAC},{THERE}"
        " --dhcp-range=10.77.0.50,10.77.0.60 --enable-tftp --tftp-root=/usr/lib/ipxe"
        " --dhcp-match=set:uefi,option:client-arch,7 --dhcp-userclass=set:ipxe,iPXE"
        " --dhcp-boot=tag:uefi,tag:!ipxe,snponly.efi"
        f" --dhcp-boot=tag:ipxe,http://{HERE}:8080/boot.ipxe"
        " --enable-ra --dhcp-range=fd77::,ra-only,64",
    )
    return [line.split() for line in lines]


def _until(ready: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + 30
    while True:
        with contextlib.suppress(FileNotFoundError):
            if ready():
                return
        if time.monotonic() > until:
            sys.exit(f"{what} does not start")
        time.sleep(0.02)


def by_behunt(firmware: str, home: Path, release: str) -> float:
    """Seconds of the whole command."""
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        lab = directory / "lab.toml"
        lab.write_text(_lab(firmware, directory))
        argv = [sys.executable, "-m", "behunt", "--home", str(home), "run", "--runner", "metal"]
        argv += ["--lab", str(lab), "--fresh", release, "--", "true"]
        ending = threading.Event()
        bmc = threading.Thread(target=_bmc, args=(firmware, directory, ending))
        bmc.start()
        try:
            began = time.perf_counter()
            subprocess.run(argv, check=True)
            return time.perf_counter() - began
        finally:
            ending.set()
            bmc.join()


def _lab(firmware: str, directory: Path) -> str:
    on = ["touch", str(directory / "wanted")]
    off = ["rm", "-f", str(directory / "wanted")]
    status = ["test", "-e", str(directory / "on")]
    power = f"on = {json.dumps(on)}, off = {json.dumps(off)}, status = {json.dumps(status)}"
    lines = ["[lab]", *(f"{key} = {json.dumps(value)}" for key, value in NETWORK.items())]
    lines += ["[[machine]]", 'name = "bench"', f'mac = "{MAC}"', f'ip = "{THERE}"']
    lines += [f'firmware = "{firmware}"']
    return "\n".join([*lines, f'power = {{ method = "command", {power} }}', ""])


def _bmc(firmware: str, directory: Path, ending: threading.Event) -> None:
    """Has the machine on while the file `wanted` is there."""
    wanted, on = directory / "wanted", directory / "on"
    while not ending.wait(0.02):
        if wanted.exists():
            with qemu(firmware, directory) as machine:
                on.touch()
                while machine.poll() is None and wanted.exists() and not ending.wait(0.02):
                    pass
                machine.kill()
            wanted.unlink(missing_ok=True)
            on.unlink()


def inside(
    home: Path, release: str, lower: str, place: Path, rounds: int
) -> dict[str, dict[str, float]]:
    """The fastest of each, by firmware."""
    found = {}
    for firmware in (BIOS, UEFI):
        times = [
            (by_behunt(firmware, home, release), bare(firmware, lower, place))
            for _ in range(rounds)
        ]
        ours, peer = (min(column) for column in zip(*times, strict=True))
        ratio = round(ours / peer, 2)
        found[firmware] = {"behunt_s": round(ours, 1), "bare_s": round(peer, 1), "ratio": ratio}
    return found


def prepared(home: Path, name: str) -> tuple[str, Path]:
    """What is lowest in the clones of a release, and where what it boots from is."""
    release = catalogue.find(catalogue.load("debian"), name)
    runner = MetalRunner(Home(home), lab_of({"lab": NETWORK}), "", nobody)
    with opened(home, "namespace") as lab, lab.store.clone(ensure(lab, release)) as clone:
        runner.prepare(release, clone)
        place = runner.place(clone.bootenv)
        kernel = place / "kernel"
        return ":".join([*([str(kernel)] if kernel.is_dir() else []), *clone.lower]), place


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, help="use this home instead of one thrown away")
    parser.add_argument("--release", default="debian-12")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--inside", nargs=2, metavar=("LOWER", "PLACE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("metal.py needs root: it installs a release, and makes a network")
    if options.inside:
        lower, place = options.inside
        print(json.dumps(inside(options.home, options.release, lower, Path(place), options.rounds)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        home = (options.home or Path(scratch) / "home").absolute()
        lower, made = prepared(home, options.release)
        again = [sys.executable, __file__, "--home", str(home), "--release", options.release]
        again += ["--rounds", str(options.rounds), "--inside", lower, str(made)]
        spaces = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        argv = [*spaces, "sh", "-c", _NET, "sh", *again]
        done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    if options.json:
        print(json.dumps(found))
        return
    for firmware, row in found.items():
        print(f"`behunt run --runner metal debian-12 -- true`, by {firmware.upper()}")
        print(f"  behunt                  {row['behunt_s']:6.1f} s   (the whole command)")
        print(f"  bare chain, same job    {row['bare_s']:6.1f} s")
        print(f"  ratio                   {row['ratio']:6.2f}     (at most {CHAIN})")


if __name__ == "__main__":
    main()
