"""Boot environments as an operator handles them: datasets by name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from behunt.drive.lab import Lab
from behunt.errors import UsageError
from behunt.model import BootEnv
from behunt.storage.protocol import Clone
from behunt.storage.zfs.store import ZfsStore


def datasets(lab: Lab) -> ZfsStore:
    """The lab's store, where it is one of datasets. Raises UsageError where it is not."""
    if isinstance(lab.store, ZfsStore):
        return lab.store
    raise UsageError(
        f"the store {lab.store.name} keeps no datasets",
        "name a dataset, such as zroot/behunt/test, or a store: --store zfs:POOL/DATASET",
    )


def are_in(lab: Lab) -> bool:
    return isinstance(lab.store, ZfsStore)


def called(lab: Lab, name: str) -> BootEnv | None:
    """The boot environment called `name`: a sealed one, or whatever the user made of datasets."""
    return datasets(lab).get(name) if are_in(lab) else lab.store.find(name)


def destroy(lab: Lab, bootenv: BootEnv, *, force: bool = False) -> None:
    """Destroy what `called` found; with `force` also where snapshots were taken of it."""
    if are_in(lab):
        datasets(lab).remove(bootenv.name, force=force)
    else:
        lab.store.destroy(bootenv)


@contextlib.contextmanager
def entered(lab: Lab, bootenv: BootEnv, *, in_place: bool = False) -> Iterator[Clone]:
    """A clone of `bootenv`, or itself: where asked for, and where it was never installed."""
    if bootenv.sealed and not in_place:
        with lab.store.clone(bootenv) as clone:
            yield clone
        return
    store = datasets(lab)
    with contextlib.ExitStack() as afterwards:
        try:
            root = str(store.path(bootenv.name))
        except UsageError:  # it is not mounted
            root = str(store.mount(bootenv.name))
            afterwards.callback(store.umount, bootenv.name)
        yield Clone(f"{bootenv.name}.{lab.owner.token}", bootenv, root=root)
