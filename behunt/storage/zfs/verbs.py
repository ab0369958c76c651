"""What an operator does with boot environments, beside making and destroying them."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from behunt.errors import UsageError
from behunt.storage.zfs import attaching, making
from behunt.storage.zfs.bootfs import bootfs
from behunt.storage.zfs.faults import TakenError
from behunt.storage.zfs.layouts import FLAT, layout_of
from behunt.storage.zfs.names import check_tag
from behunt.storage.zfs.place import Place
from behunt.storage.zfs.removing import refuse_mounted
from behunt.storage.zfs.trees import Tree

_AT = re.compile(r"(/[^/\0\n]+)+")


def mount(place: Place, name: str, at: str) -> PurePosixPath:
    """See ZfsStore.mount."""
    tree = place.known(name)
    if found := attaching.mounts(place, tree.dataset):
        raise UsageError(
            f"the boot environment {name} is mounted at {found[0].directory} already",
            f"behunt be umount {tree.dataset}",
        )
    where = PurePosixPath(at) if at else place.at(name)
    _refuse_occupied(place, where)
    attaching.mount_as_can_be(place, tree.dataset, tree.mountable(), where)
    return where


def _refuse_occupied(place: Place, at: PurePosixPath) -> None:
    if not _AT.fullmatch(str(at)) or ".." in at.parts:
        raise UsageError(f"{at} is no directory to mount on", "name an absolute path")
    if any(mounted.directory == str(at) for mounted in place.door.mounted()):
        raise UsageError(f"something is mounted at {at} already", "name another directory")
    listed = place.door.host.run(["ls", "-A", str(at)])
    if listed.out:
        raise UsageError(
            f"the directory {at} on {place.door.host.name} is not empty", "name another directory"
        )


def umount(place: Place, name: str) -> None:
    """See ZfsStore.umount."""
    tree = place.known(name)
    refuse_mounted(place, tree, force=True)
    own = set(tree.names)
    found = attaching.mounts(place, tree.dataset)
    for other in place.door.mounted():
        inside = any(PurePosixPath(other.directory).is_relative_to(m.directory) for m in found)
        if inside and other.dataset not in own:
            raise UsageError(
                f"{other.dataset}, which is not behunt's, is mounted in it, at {other.directory}",
                f"zfs unmount {other.dataset}",
            )
    attaching.unmount(place, tree.dataset)
    attaching.remove_directory(place, place.at(name))


def path(place: Place, name: str) -> Path:
    """See ZfsStore.path."""
    tree = place.known(name)
    for mounted in attaching.mounts(place, tree.dataset):
        if mounted.dataset == tree.dataset:
            return Path(mounted.directory)
    raise UsageError(
        f"the boot environment {name} is not mounted", f"behunt be mount {tree.dataset}"
    )


def snapshot(place: Place, name: str, tag: str) -> str:
    """See ZfsStore.snapshot."""
    check_tag(tag)
    tree = place.known(name)
    try:
        place.door.snapshot([f"{dataset}@{tag}" for dataset in tree.names])
    except TakenError as error:
        raise UsageError(
            f"the boot environment {name} has a snapshot {tag} already", "choose another name"
        ) from error
    return f"{tree.dataset}@{tag}"


def rename(place: Place, name: str, to: str) -> str:
    """See ZfsStore.rename."""
    tree = place.own(name)
    layout = layout_of(tree.layout or FLAT, tree.release)
    making.check_new(place, to, layout)
    refuse_mounted(place, tree)
    attaching.renew_fstab(place, tree.dataset, place.dataset(to), layout)
    return making.named(place, tree.dataset, to)


def activate(place: Place, name: str) -> str:
    """See ZfsStore.activate. What libbe's be_activate does (lib/libbe/be.c of FreeBSD)."""
    tree = place.own(name)
    before = bootfs(place)
    for one in tree.datasets:
        if one.properties["origin"] != "-":
            place.door.promote(one.name)
    place.door.set_bootfs(tree.dataset)
    if before and before != tree.dataset:
        place.door.set([before], {"canmount": "noauto"})
    return _where_it_boots(place, tree, before)


def _where_it_boots(place: Place, tree: Tree, before: str) -> str:
    if (bootroot := before.rpartition("/")[0]) and bootroot != place.root:
        return (
            f"{tree.dataset} is not below {bootroot}, the only place where the boot loader's menu "
            "and bectl(8) look; the next boot takes it all the same"
        )
    if not before:
        return f"the pool {place.pool} had nothing to boot from: see that it has boot blocks"
    return ""
