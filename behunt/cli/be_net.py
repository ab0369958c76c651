"""`behunt be sharenfs`, `bootpxe`, `wol` and so on: boot environments on a network."""

from __future__ import annotations

import sys
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from behunt.cli import options as opt
from behunt.cli import settings
from behunt.cli.amounts import Size
from behunt.cli.be_boot import order_of
from behunt.cli.be_enter import found
from behunt.cli.be_place import lab_for, named
from behunt.cli.machines import ask, lab_of
from behunt.errors import BehuntError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from behunt.drive.lab import Lab
    from behunt.model import BootEnv, Release


@click.command(
    epilog="""\b
Examples:
  behunt be bootnfs debian-12
  behunt be bootnfs --package systemd-sysv --memory 2G debian-12"""
)
@click.argument("name", shell_complete=opt.complete_release)
@opt.where
@opt.installing
@click.option(
    "--console", is_flag=True, help="Type what comes on standard input, if it is no terminal too."
)
@click.option("--memory", type=Size(), metavar="SIZE", help="Memory of the machine.")
@click.option("--cpus", type=click.IntRange(1), metavar="N", help="Its processors.")
@opt.verbose
@click.pass_context
def bootnfs(ctx: click.Context, /, name: str, **options: Any) -> None:
    """Boot a clone of NAME in QEMU, with its root on NFS, as a machine of a lab has it.

    NAME is a boot environment of Debian, or such a release. Its serial console is the terminal,
    as with `behunt be boot`; it has no network but the one that its root comes over.
    """
    from behunt.drive.booting import boot_by_nfs  # noqa: PLC0415
    from behunt.runners.lab.in_qemu import unfit  # noqa: PLC0415

    place = named(name, options)
    typing = options["console"] or sys.stdin.isatty()
    if lacks := opt.runners_of(ctx.obj, options)["qemu"].missing():
        raise BehuntError(lacks, "`behunt doctor` tells what this machine can do")
    with lab_for(ctx, {**options, "store": place.store}) as lab:
        release = _release(lab, place.name, options)
        if why := unfit(release):
            raise BehuntError(f"cannot boot {release.id} over NFS: {why}", "see docs/netboot.md")
        bootenv = _bootenv(lab, place.name, options)
        way_out = "Ctrl-] leaves and ends it" if typing else "Ctrl-C ends it"
        click.echo(f"behunt: booting {bootenv.name}; {way_out}", err=True)
        order = order_of(bootenv, {**options, "network": False})
        left = boot_by_nfs(lab, bootenv, release, order, typing=typing)
    click.echo(f"\nbehunt: {'left' if left else 'the end of'} {bootenv.name}", err=True)


@click.command(
    epilog="""\b
Examples:
  behunt be bootpxe debian-12 --machine rack3-node2
  behunt be bootpxe --package systemd-sysv debian-12 --machine rack3-node2"""
)
@click.argument("name", shell_complete=opt.complete_release)
@opt.where
@opt.installing
@opt.lab
@click.option("--machine", metavar="NAME", required=True, help="Boot this machine of the lab.")
@opt.verbose
@click.pass_context
def bootpxe(ctx: click.Context, /, name: str, machine: str, **options: Any) -> None:
    """Switch a machine of a lab on, and have it boot a clone of NAME over the network.

    NAME is a boot environment or a release. The machine runs its own init, or a shell at its
    console, until it powers off, or Ctrl-C cuts its power. What was changed is gone then.
    """
    from behunt.drive.netboot import boot  # noqa: PLC0415

    network = lab_of(options["lab"])
    chosen = network.machine(machine)
    place = named(name, options)
    metal = {**options, "store": place.store, "runner": "metal", "machine": machine}
    with lab_for(ctx, metal) as lab:
        release = _release(lab, place.name, options)
        ready, bootenv = found(ctx, lab, place.name, metal)
        click.echo(f"behunt: {machine} boots {bootenv.name}; Ctrl-C cuts its power", err=True)
        went = boot(ready, bootenv, release, network, chosen, ask=ask)
    click.echo(f"behunt: {machine} {'powered off' if went else 'was left'}", err=True)


@click.command(
    epilog="""\b
Examples:
  behunt be sharepxe debian-12 --lab lab.toml
  behunt be sharepxe debian-12 --machine rack3-node1 --machine rack3-node2"""
)
@click.argument("name", shell_complete=opt.complete_release)
@opt.where
@opt.installing
@opt.lab
@click.option("--machine", "machines", metavar="NAME", multiple=True, help="Only this one; repeat.")
@opt.verbose
@click.pass_context
def sharepxe(ctx: click.Context, /, name: str, machines: tuple[str, ...], **options: Any) -> None:
    """Let the machines of a lab boot NAME over the network, each a clone of its own.

    Nobody is switched on: whoever comes up boots it, until Ctrl-C. Then the clones are gone, and
    what still runs on them has lost its root.
    """
    from behunt.drive.netboot import free, share  # noqa: PLC0415

    network = lab_of(options["lab"])
    chosen = [network.machine(one) for one in dict.fromkeys(machines)]
    place = named(name, options)
    metal = {**options, "store": place.store, "runner": "metal"}
    with lab_for(ctx, metal) as lab:
        release = _release(lab, place.name, options)
        ready, bootenv = found(ctx, lab, place.name, metal)
        click.echo(f"behunt: serving {bootenv.name}; Ctrl-C ends it", err=True)
        share(ready, bootenv, release, network, chosen or free(lab, network, release))
    click.echo(f"behunt: {bootenv.name} is served no more", err=True)


@click.command(
    epilog="""\b
Examples:
  behunt be sharenfs debian-12 --network 10.77.0.0/24
  behunt be sharenfs debian-12 --lab lab.toml --background
  behunt be sharenfs --zfs --network 10.77.0.0/24 zroot/behunt/debian-12-amd64

A network that is given says which address of this machine serves it, and the
other way round."""
)
@click.argument("name", shell_complete=opt.complete_release)
@opt.where
@opt.installing
@opt.lab
@click.option("--network", metavar="CIDR", help="Serve it to this network, and no other.")
@click.option("--address", metavar="IP", help="Serve it on this address of this machine.")
@click.option("--zfs", is_flag=True, help="Have ZFS share it: by the property sharenfs.")
@click.option("--background", is_flag=True, help="Go on there: unsharenfs ends it.")
@opt.verbose
@click.pass_context
def sharenfs(
    ctx: click.Context, /, name: str, *, zfs: bool, background: bool, **options: Any
) -> None:
    """Serve a clone of NAME by NFS, to be read and written, until Ctrl-C.

    It prints the command that mounts it. Without --network and --address it is served to the
    network of a lab. What was changed is gone with the clone.
    """
    from behunt.drive.sharing import check, reach, share  # noqa: PLC0415
    from behunt.hosts.background import part  # noqa: PLC0415

    asked = _asked(options)
    place = named(name, options)
    parted = part() if background else None
    if parted and not parted.ready:
        ctx.exit(parted.code)

    def ready(mounts: Sequence[tuple[str, str]]) -> None:
        for source, at in mounts:
            click.echo(f"mount -t nfs -o vers=3,tcp,nolock,noacl {source} /mnt{at.rstrip('/')}")
        if parted and parted.ready:
            parted.ready()

    with lab_for(ctx, {**options, "store": place.store}) as lab:
        address, network = reach(*asked, lab.host)
        check(lab, zfs=zfs)
        bootenv = _bootenv(lab, place.name, options)
        end = f"behunt be unsharenfs {name}" if background else "Ctrl-C"
        click.echo(f"behunt: serving {bootenv.name} to {network}; {end} ends it", err=True)
        share(lab, bootenv, name, address, network, zfs=zfs, ready=ready)
    click.echo(f"behunt: {bootenv.name} is served no more", err=True)


@click.command(epilog="Example: behunt be unsharenfs debian-12")
@click.argument("name")
@click.pass_obj
def unsharenfs(place: opt.Place, name: str) -> None:
    """End what serves NAME by NFS: a `behunt be sharenfs` of the same --home."""
    from behunt.drive.sharing import unshare  # noqa: PLC0415

    for ended in unshare(place.home, name):
        click.echo(f"{ended} is served no more")


def _asked(options: dict[str, Any]) -> tuple[IPv4Address | None, IPv4Network | None]:
    """What --address and --network say, or else the lab. Raises UsageError."""
    address, network = options["address"], options["network"]
    if not address and not network:
        of_lab = lab_of(options["lab"]).address
        return of_lab.ip, of_lab.network
    try:
        return (
            IPv4Address(address) if address else None,
            IPv4Network(network, strict=False) if network else None,
        )
    except ValueError as error:
        raise UsageError(f"{error}", "write --address 10.77.0.1, --network 10.77.0.0/24") from error


def _bootenv(lab: Lab, name: str, options: dict[str, Any]) -> BootEnv:
    """What `name` means: a boot environment, or a release, which is installed if need be."""
    from behunt.drive.datasets import called  # noqa: PLC0415
    from behunt.drive.installing import install_all  # noqa: PLC0415

    there = called(lab, name)
    return there or install_all(lab, [opt.release_of(name, options)], 1)[0]


def _release(lab: Lab, name: str, options: dict[str, Any]) -> Release:
    """The release that `name` is, or is a boot environment of. Raises UsageError."""
    from behunt.drive.datasets import called  # noqa: PLC0415

    there = called(lab, name)
    if there is None:
        return opt.release_of(name, options)
    if not there.release:
        raise UsageError(
            f"nothing tells which release {name} is, and so how a machine boots it",
            "fill it with `behunt be install -r RELEASE DATASET`",
        )
    return opt.release_of(there.release, {**options, "os": None, "arch": None})


@click.command(
    epilog="""\b
Examples:
  behunt be wol 02:01:02:03:04:05
  behunt be wol 02:01:02:03:04:05 --interface eth1"""
)
@click.argument("mac")
@opt.lab
@click.option("--interface", metavar="IF", default="", help="Send it out of this interface.")
def wol(*, mac: str, lab: Path | None, interface: str) -> None:
    """Wake the machine whose network card is MAC, by a magic packet.

    It goes out of the interface of the lab that has the machine; else of the default route.
    """
    from behunt.drive.machines import wake  # noqa: PLC0415
    from behunt.netboot.lab import mac_of, read  # noqa: PLC0415

    try:
        mac = mac_of(mac, "MAC")
    except ValueError as error:
        raise UsageError(str(error)) from None
    file = lab or settings.lab()
    out, why = wake(mac, interface, read(file) if file else None)
    click.echo(f"sent to {mac} out of {out} ({why})")


COMMANDS: tuple[click.Command, ...] = (sharenfs, unsharenfs, bootnfs, bootpxe, sharepxe, wol)
