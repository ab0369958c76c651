"""How far a machine came on its way from the network to its test, as the servers saw it. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from behunt.netboot.web import Request

UP = "up"  # what a job tells first
_NOT_FOUND = 404


class Stage(StrEnum):
    """Where it stopped."""

    NO_DHCP = "no DHCP"
    NO_TFTP = "no TFTP"
    NO_MOUNT = "no mount"
    NO_JOB = "no job"
    RUNNING = "job running"


@dataclass(frozen=True, slots=True)
class Seen:
    """What the servers have seen of one machine since its power was asked for.

    `dhcp` and `tftp` are dnsmasq's lines about it, `web` what it fetched by HTTP, `mounted`
    whether it has asked for its root, and `told` the words of its job.
    """

    dhcp: Sequence[str] = ()
    tftp: Sequence[str] = ()
    web: Sequence[Request] = ()
    mounted: bool = False
    told: Mapping[str, str] | Collection[str] = ()


def stage(seen: Seen, last: str) -> tuple[Stage, str]:
    """Where it stopped, and a sentence. `last` is the last file that it fetches."""
    if "started" in seen.told:
        return Stage.RUNNING, "its test runs"
    if seen.mounted or UP in seen.told:
        what = "its test has not begun" if UP in seen.told else "nothing has run there"
        return Stage.NO_JOB, f"it has mounted its root, and {what}"
    web = [one.path for one in seen.web if one.status != _NOT_FOUND]
    if any(path.endswith(f"/{last}") for path in web) or _sent(seen.tftp, last):
        return Stage.NO_MOUNT, f"it has fetched {last}, and not mounted its root"
    if seen.web or seen.tftp or any("DHCPACK" in line or "PXE(" in line for line in seen.dhcp):
        return Stage.NO_TFTP, _fetched(seen, last)
    if seen.dhcp:
        return Stage.NO_DHCP, "it has asked for an address, and taken none"
    return Stage.NO_DHCP, "nothing of it was seen: its power, its cable, or its order of booting"


def _fetched(seen: Seen, last: str) -> str:
    """How far it came with what it boots."""
    if missing := [one.path for one in seen.web if one.status == _NOT_FOUND]:
        return f"it asked for {missing[-1]}, which is not there"
    if seen.tftp and _MISSING.search(seen.tftp[-1]):  # some ask for what need not be there
        return seen.tftp[-1]
    if seen.web or seen.tftp:
        return f"it has begun to fetch what it boots, and not come to {last}"
    return "it has its address, and has fetched nothing"


def _sent(lines: Sequence[str], file: str) -> bool:
    return any(line.startswith("sent ") and f"/{file} to " in line for line in lines)


_MISSING = re.compile(r" not found( for \S+)?$|^cannot access ")  # not every dnsmasq tells for whom
_DHCP = re.compile(r"dnsmasq-dhcp\[\d+\]: (?:\d+ )?((?:DHCP|PXE)\S* .*)")
_TFTP = re.compile(r"dnsmasq-tftp\[\d+\]: (.*)")


def of_log(log: str, mac: str) -> tuple[list[str], list[str]]:
    """Lines of dnsmasq's log about the machine `mac`: of DHCP, and of TFTP."""
    hexhyp = mac.replace(":", "-")
    dhcp = [found[1] for found in _DHCP.finditer(log) if mac in found[1]]
    tftp = [found[1] for found in _TFTP.finditer(log) if hexhyp in found[1]]
    return dhcp, tftp
