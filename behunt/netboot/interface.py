"""The interface of a lab, as this machine has it: behunt answers there, and nowhere else."""

from __future__ import annotations

import json
from typing import Any

from behunt.errors import HostError
from behunt.hosts.local import LocalHost
from behunt.hosts.protocol import Host
from behunt.netboot.lab import Dhcp, LabNetwork


def check(lab: LabNetwork, host: Host | None = None) -> None:
    """Raises HostError if servers there would answer on a network that is not the lab's."""
    host = host or LocalHost()
    done = host.run(["ip", "-json", "address", "show", "dev", lab.interface])
    if done.code != 0:
        raise HostError(
            f"there is no interface {lab.interface}", "`ip address` lists those that there are"
        )
    routes = host.run(["ip", "-json", "route", "show", "default"], check=True).out
    if why := fault(lab, done.out, routes):
        raise HostError(*why)


def fault(lab: LabNetwork, addresses: str, routes: str) -> tuple[str, str] | None:
    """What is wrong, and what to do, after what ip(8) says in JSON; None for nothing."""
    shown: dict[str, Any] = next(iter(json.loads(addresses)), {})
    own = {f"{one['local']}/{one['prefixlen']}" for one in shown.get("addr_info", ())}
    dev = lab.interface
    if str(lab.address) not in own:
        has = ", ".join(sorted(own)) or "none"
        return (
            f"{dev} does not have the address {lab.address}, it has {has}",
            f"ip address add {lab.address} dev {dev}; or correct [lab] in lab.toml",
        )
    if "UP" not in shown.get("flags", ()):
        return f"{dev} is down", f"ip link set {dev} up"
    if lab.ipv6 is not None and str(lab.ipv6) not in own:
        return f"{dev} does not have the address {lab.ipv6}", f"ip address add {lab.ipv6} dev {dev}"
    if lab.dhcp is Dhcp.FULL and any(
        route.get("dev") == dev for route in json.loads(routes or "[]")
    ):
        return (
            f"{dev} leads to this machine's default gateway: it is no network of a lab's own",
            'give the lab an interface of its own; or let [lab] have dhcp = "proxy", which gives '
            "no addresses, if you may answer there",
        )
    return None
