"""What `behunt be` refuses before it looks at any pool."""

from __future__ import annotations

from pathlib import Path

import pytest
from behunt_cli import Behunt


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("create", "test"), "keeps no datasets"),
        (("install", "tank/a"), "what shall be installed there is missing"),
        (("install", "-o", "freebsd", "-r", "11.1", "a/b", "c/d"), "one release into one dataset"),
        (("snapshot", "tank/a"), "the snapshot has no name"),
        (("clone", "tank/a", "other/b"), "in another store"),
        (("list", "--store", "zfs"), "there is no store zfs"),
        (("list", "--host", "nobody@nowhere.invalid"), "of this machine only"),
    ],
)
def test_wrong_input_is_told_in_a_sentence(
    tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    Behunt.below(tmp_path).fails(2, "be", *words, says=says)
