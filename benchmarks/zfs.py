"""What a nested boot environment costs: snapshot, clone, mount, unmount, destroy, 12 datasets each.

The peer is what an operator would type, a loop of zfs(8) and mount(8) in one sh. behunt does it
in one process, whose start is not counted: a hunt starts once. Both work in turns on the same
boot environment, so that a busy machine slows both.

`zfs.py POOL/DATASET` works below that dataset of this machine, as root; `zfs.py guest` in the
machine with a real OpenZFS that the tests build, and over ssh on that machine as well.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from behunt.drive.site import zfs_store
from behunt.hosts.local import LocalHost
from behunt.hosts.protocol import Host
from behunt.hosts.ssh import SshHost
from behunt.model import BootEnv, Build
from behunt.storage.home import Home, Owner
from behunt.storage.zfs.store import ZfsStore

LIMIT = 0.5  # times the loop, on this machine
LAYOUT = "freebsd"
NAME, TAG = "bench", "bench"
TESTS = Path(__file__).parents[1] / "tests"

# As few processes as the task allows: one for all snapshots, to unmount all, and per destroy.
# Legacy mount points, as zfs destroy removes empty directories of the host that are inherited.
BY_HAND = """
set -e
be=$1 tag=$2 clone=$3
at=$(mktemp -d)
zfs snapshot -r "$be@$tag"
zfs list -H -r -o name,canmount "$be" | while read -r one canmount; do
    below=${one#"$be"}
    zfs clone -o canmount="$canmount" -o mountpoint=legacy "$one@$tag" "$clone$below"
    [ "$canmount" = off ] || mount -t zfs "$clone$below" "$at$below"
done
umount -R "$at"
zfs destroy -r "$clone"
zfs destroy -r "$be@$tag"
rmdir "$at"
"""


@contextmanager
def installed(root: str, host: Host) -> Iterator[tuple[ZfsStore, BootEnv]]:
    """An empty boot environment, sealed, in a store of its own below the dataset `root`."""
    dataset = f"{root}/behunt-{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory() as home_directory:
        home = Home(Path(home_directory)).make()
        owner = Owner(home)
        store = zfs_store(dataset, host, home, owner, layout=LAYOUT)
        try:
            yield store, store.seal(store.create(NAME, ""), Build("benchmark"))
        finally:
            store.remove(NAME, force=True)
            host.run(["zfs", "destroy", "-r", dataset], check=True)
            owner.close()


def by_behunt(store: ZfsStore, bootenv: BootEnv, names: list[str]) -> None:
    store.snapshot(NAME, TAG)
    with store.clone(bootenv):
        pass
    store.place.door.destroy([f"{name}@{TAG}" for name in names])


def timed(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return (time.perf_counter() - began) * 1000


def measure(root: str, rounds: int, host: Host, prefix: list[str]) -> dict[str, Any]:
    """Median milliseconds of both. `prefix` has a shell command line done on `host`."""
    with installed(root, host) as (store, bootenv):
        top = store.dataset(NAME)
        names = [one.name for one in store.place.door.datasets(top)]
        loop = ["sh", "-c", BY_HAND, "sh", top, TAG, f"{store.place.root}/by-hand"]
        hand = [*prefix, shlex.join(loop)] if prefix else loop
        ours, theirs = [], []
        for _ in range(rounds + 1):  # the first of each finds nothing in the caches
            theirs.append(timed(lambda: subprocess.run(hand, check=True)))
            ours.append(timed(lambda: by_behunt(store, bootenv, names)))
    behunt, by_hand = statistics.median(ours[1:]), statistics.median(theirs[1:])
    return {
        "datasets": len(names),
        "behunt_ms": round(behunt, 1),
        "by_hand_ms": round(by_hand, 1),
        "ratio": round(behunt / by_hand, 2),
    }


def in_guest(rounds: int) -> dict[str, Any]:
    """The same in a machine of the tests, and from here over ssh."""
    sys.path.insert(0, str(TESTS))
    from guest.machine import POOL, SOURCE, started  # noqa: PLC0415 - what the tests need to be

    with started() as machine:
        machine.push_source()
        script = f"{SOURCE}/{Path(__file__).name}"
        machine.run(["tee", script], stdin=Path(__file__).read_bytes())
        words = ["python3", script, POOL, "--rounds", str(rounds), "--json"]
        said = machine.run(words, timeout=3600).out
        options = ("-F", str(machine.ssh_config))
        with SshHost("guest", options) as host:
            over_ssh = measure(POOL, rounds, host, ["ssh", *options, "guest"])
    return {**json.loads(said), "ssh": over_ssh, "machine": "emulated by QEMU (TCG)"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("where", help="a dataset of this machine, or `guest`")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("zfs.py needs root: it mounts")
    if options.where == "guest":
        found = in_guest(options.rounds)
    elif shutil.which("zfs") is None:
        sys.exit("zfs.py needs zfs(8); `zfs.py guest` brings a machine that has it")
    else:
        local = measure(options.where, options.rounds, LocalHost(), [])
        found = {"local": local, "machine": "", "limit": LIMIT}
    print(json.dumps(found) if options.json else table(found))


def table(found: dict[str, Any]) -> str:
    rows = [("here", found["local"]), ("over ssh", found.get("ssh"))]
    lines = [f"snapshot, clone, mount, destroy of {found['local']['datasets']} datasets"]
    for where, row in rows:
        if row:
            figures = f"behunt {row['behunt_ms']:8.1f} ms   by hand {row['by_hand_ms']:8.1f} ms"
            lines.append(f"  {where:8}  {figures}   ratio {row['ratio']:.2f}")
    return "\n".join([*lines, f"  (here at most {LIMIT})"])


if __name__ == "__main__":
    main()
