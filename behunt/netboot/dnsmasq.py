"""The configurations of the two dnsmasq(8) that answer machines of a lab. Pure.

One answers DHCP, and only those machines that are in its file of hosts at the moment: what behunt
does not boot gets no answer. It is started anew with each of them; the other, which answers TFTP,
never is, since machines are then fetching. Both do so on the lab's interface only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

from behunt.netboot.lab import Dhcp, LabNetwork, Machine

# What a client says that it is (RFC 4578, and IANA's table of processor architectures). UEFI of 32
# bits (6) is none: the loaders here have 64.
_CLIENTS = {"bios": ("0",), "uefi": ("7", "9")}
_SERVICES = {"bios": ("x86PC",), "uefi": ("X86-64_EFI", "BC_EFI")}  # the same in dnsmasq's words
# What machines fetch by TFTP, by the way they boot. LINUX has iPXE first, which asks again.
LINUX, FREEBSD, NETBSD, OPENBSD = "linux", "freebsd", "netbsd", "openbsd"
FILES: dict[str, dict[str, str]] = {
    LINUX: {"bios": "undionly.kpxe", "uefi": "snponly.efi"},
    FREEBSD: {"bios": "pxeboot", "uefi": "loader.efi"},
    NETBSD: {"bios": "pxeboot_ia32.bin"},
    OPENBSD: {"bios": "pxeboot", "uefi": "BOOTX64.EFI"},
}
SCRIPT = "boot.ipxe"
NETBSD_KERNEL = "netbsd"
LEASES, LOG = "leases", "dnsmasq.log"
_LEASE = "1h"


@dataclass(frozen=True, slots=True)
class Booting:
    """What `machine` is told to boot: a key of FILES, and DHCP options by name (root-path)."""

    machine: Machine
    way: str
    options: Mapping[str, str] = field(default_factory=dict)


def tftp_conf(lab: LabNetwork, directory: Path) -> str:
    """Of the one for TFTP: each machine has its files in a directory of `directory`/tftp.

    It knows it by ARP, and looks for its directory with each file that it asks for.
    """
    lines = [
        *_alone(lab, directory, "tftp"),
        "enable-tftp",
        f"tftp-root={directory}/tftp",
        "tftp-unique-root=mac",
    ]
    return "".join(f"{line}\n" for line in lines)


def dhcp_conf(lab: LabNetwork, directory: Path, web: int) -> str:
    """Of the one for DHCP, whose files are in `directory`; `hosts` and `options` are two of them.

    iPXE fetches by HTTP, from the port `web`, what is then booted.
    """
    lines = [
        *_alone(lab, directory, "dhcp"),
        "dhcp-ignore=tag:!known",
        "log-dhcp",
        f"dhcp-leasefile={directory}/{LEASES}",
        f"dhcp-hostsfile={directory}/hosts",
        f"dhcp-optsfile={directory}/options",
        _range(lab),
        "dhcp-option=option:router",  # none: the lab is no way out
        "dhcp-option=option:dns-server",
        "dhcp-userclass=set:ipxe,iPXE",
        *(
            f"dhcp-match=set:{firmware},option:client-arch,{client}"
            for firmware, clients in _CLIENTS.items()
            for client in clients
        ),
        *_boots(lab, web),
        *_advertised(lab),
    ]
    return "".join(f"{line}\n" for line in lines)


def _alone(lab: LabNetwork, directory: Path, name: str) -> tuple[str, ...]:
    """Nobody else is answered, and nowhere else; the log is that of both."""
    return (
        f"interface={lab.interface}",
        "except-interface=lo",
        "bind-interfaces",
        "port=0",  # no DNS
        "no-resolv",
        "no-hosts",
        "user=root",  # it stays in its place, which others cannot enter
        f"pid-file={directory}/{name}.pid",
        f"log-facility={directory}/{LOG}",
    )


def _range(lab: LabNetwork) -> str:
    network = lab.address.network
    if lab.dhcp is Dhcp.PROXY:
        return f"dhcp-range={network.network_address},proxy,{network.netmask}"
    if lab.first is None:
        return f"dhcp-range={network.network_address},static,{network.netmask},{_LEASE}"
    return f"dhcp-range={lab.first},{lab.last},{network.netmask},{_LEASE}"


def _boots(lab: LabNetwork, web: int) -> Iterator[str]:
    """Behind each file its server, which a proxy does not tell otherwise: iPXE then ignores it."""
    server = f",,{lab.address.ip}"
    for way, files in FILES.items():
        first = ",tag:!ipxe" if way == LINUX else ""
        for firmware, file in files.items():
            yield f"dhcp-boot=tag:{way}{first},tag:{firmware},{file}{server}"
            if lab.dhcp is Dhcp.PROXY:
                for service in _SERVICES[firmware]:
                    yield f'pxe-service=tag:{way}{first},{service},"behunt",{file}'
    script = f"{url(lab, web)}/${{mac:hexhyp}}/{SCRIPT}"
    yield f"dhcp-boot=tag:{LINUX},tag:ipxe,{script}{server}"
    # NetBSD's loader and its kernel ask again, and no more say what firmware there is. The colon
    # makes the loader take the name for a kernel's; without one it would go by NFS version 2.
    loaded = "".join(f",tag:!{firmware}" for firmware in _CLIENTS)
    yield f"dhcp-boot=tag:{NETBSD}{loaded},tftp:{NETBSD_KERNEL}{server}"


def url(lab: LabNetwork, web: int) -> str:
    return f"http://{lab.address.ip}:{web}"


def _advertised(lab: LabNetwork) -> tuple[str, ...]:
    if lab.ipv6 is None:
        return ()
    network = lab.ipv6.network
    return "enable-ra", f"dhcp-range={network.network_address},ra-only,{network.prefixlen}"


def hosts(booting: Iterable[Booting]) -> str:
    """The file of the machines that are answered."""
    return "".join(
        f"{one.machine.mac},set:{one.way},set:{_tag(one.machine)},"
        f"{f'{one.machine.ip},' if one.machine.ip else ''}{one.machine.name}\n"
        for one in booting
    )


def options(booting: Iterable[Booting]) -> str:
    """The file of what they are told besides."""
    return "".join(
        f"tag:{_tag(one.machine)},option:{name},{value}\n"
        for one in booting
        for name, value in one.options.items()
    )


def _tag(machine: Machine) -> str:
    """No machine's name is then one of the tags of `dhcp_conf`, nor dnsmasq's own `known`."""
    return f"machine-{machine.name}"


def leased(leases: str, machine: Machine) -> IPv4Address | None:
    r"""What a machine has been given, by the file of leases; None if nothing.

    >>> leased("1700000000 02:01:02:03:04:0a 10.77.0.50 a *\n", Machine("a", "02:01:02:03:04:0a"))
    IPv4Address('10.77.0.50')
    """
    for line in leases.splitlines():
        words = line.split()
        if len(words) > 2 and words[1] == machine.mac:  # noqa: PLR2004 - what is not of a lease
            return IPv4Address(words[2])
    return None


def hexhyp(machine: Machine) -> str:
    """Its address as iPXE and dnsmasq have it in a path.

    >>> hexhyp(Machine("a", "02:01:02:03:04:0a"))
    '02-01-02-03-04-0a'
    """
    return machine.mac.replace(":", "-")
