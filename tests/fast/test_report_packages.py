from __future__ import annotations

from behunt.model import Build, Package
from behunt.report.packages import Change, PackageChange, package_changes


def build(**versions: str) -> Build:
    return Build("recipe", packages=tuple(Package(n, v, "amd64") for n, v in versions.items()))


def test_only_what_differs_is_listed() -> None:
    before = build(bash="5.2", gone="1.0", same="2.0")
    after = build(bash="5.3", new="1.1", same="2.0")
    assert package_changes(before, after) == (
        PackageChange("bash", "amd64", Change.CHANGED, "5.2", "5.3"),
        PackageChange("gone", "amd64", Change.REMOVED, "1.0", ""),
        PackageChange("new", "amd64", Change.ADDED, "", "1.1"),
    )


def test_packages_that_the_test_names_come_first() -> None:
    changes = package_changes(
        build(aaa="1", python3="3.11"), build(aaa="2", python3="3.13"), "exec python3 -c 'x'"
    )
    assert [(change.name, change.named) for change in changes] == [
        ("python3", True),
        ("aaa", False),
    ]


def test_the_same_name_on_two_architectures_is_two_packages() -> None:
    before = Build("r", packages=(Package("libc6", "1", "amd64"), Package("libc6", "1", "i386")))
    after = Build("r", packages=(Package("libc6", "2", "amd64"), Package("libc6", "1", "i386")))
    (change,) = package_changes(before, after)
    assert (change.name, change.arch, change.before, change.after) == ("libc6", "amd64", "1", "2")


def test_versions_stay_texts() -> None:
    (change,) = package_changes(build(a="1.10"), build(a="1.1"))
    assert (change.before, change.after) == ("1.10", "1.1")


def test_an_empty_list_makes_all_added() -> None:
    assert [c.change for c in package_changes(build(), build(a="1"))] == [Change.ADDED]
    assert package_changes(build(), build()) == ()
