from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from behunt.report.clean import lines_of
from behunt.report.compare import CONTEXT, OPENABLE, Cut, Fold, Line, Piece, Row, side_by_side

PLENTY = 10_000_000


def numbered(*numbers: int) -> str:
    return "".join(f"line {n}\n" for n in numbers)


def text(line: Line | None) -> str | None:
    return "".join(piece.text for piece in line.pieces) if line else None


def test_a_changed_line_is_marked_word_by_word() -> None:
    (row,) = side_by_side("Python 3.11.2\n", "Python 3.13.2\n", PLENTY)
    assert row == Row(
        Line(1, (Piece("Python 3."), Piece("11", differs=True), Piece(".2"))),
        Line(1, (Piece("Python 3."), Piece("13", differs=True), Piece(".2"))),
    )


def test_added_and_removed_lines_stand_alone() -> None:
    rows = [p for p in side_by_side("a\nb\nc\n", "b\nc\nd\n", PLENTY) if isinstance(p, Row)]
    assert [(text(row.left), text(row.right), row.same) for row in rows] == [
        ("a", None, False),
        ("b", "b", True),
        ("c", "c", True),
        (None, "d", False),
    ]


def test_a_stretch_of_equal_lines_folds_and_can_be_opened() -> None:
    head, tail = range(20), range(30, 50)
    parts = side_by_side(numbered(*head, 25, *tail), numbered(*head, 26, *tail), PLENTY)
    folds = [part for part in parts if isinstance(part, Fold)]
    assert [fold.hidden for fold in folds] == [20 - 2 * CONTEXT] * 2
    assert all(len(fold.rows) == fold.hidden for fold in folds)


def test_a_long_stretch_is_only_counted() -> None:
    same = numbered(*range(OPENABLE * 3))
    (fold,) = [p for p in side_by_side(same + "a", same + "b", PLENTY) if isinstance(p, Fold)]
    assert fold == Fold(OPENABLE * 3 - 2 * CONTEXT)


def test_the_first_difference_is_shown_however_deep_it_lies() -> None:
    head = numbered(*range(50_000))
    parts = side_by_side(f"{head}good\n{head}", f"{head}bad\n{head}", 1000)
    (row,) = [part for part in parts if isinstance(part, Row) and not part.same]
    assert row.left
    assert (row.left.number, text(row.left), text(row.right)) == (50_001, "good", "bad")


def test_what_does_not_fit_is_told() -> None:
    before = "".join(f"before {n}\n" for n in range(500))
    after = "".join(f"after {n}\n" for n in range(800))
    parts = side_by_side(before, after, 4000)
    (cut,) = [part for part in parts if isinstance(part, Cut)]
    rows = [part for part in parts if isinstance(part, Row)]
    assert cut.left + sum(row.left is not None for row in rows) == 500
    assert cut.right + sum(row.right is not None for row in rows) == 800
    assert (text(rows[0].left), text(rows[-1].right)) == ("before 0", "after 799")


def test_lines_that_differ_only_beyond_what_is_shown_still_differ() -> None:
    (row,) = side_by_side("x" * 5000 + "a", "x" * 5000 + "b", PLENTY)
    assert isinstance(row, Row)
    assert not row.same


def test_equal_and_empty_logs() -> None:
    assert side_by_side("", "", PLENTY) == ()
    assert all(isinstance(p, Row) and p.same for p in side_by_side("a\nb\n", "a\nb\n", PLENTY))


LOG = st.lists(st.sampled_from(["a", "b", "c d", ""]), max_size=30).map("\n".join)


@given(LOG, LOG)
def test_every_line_of_both_logs_is_there_once_and_in_order(before: str, after: str) -> None:
    parts = side_by_side(before, after, PLENTY)
    rows = [
        row
        for part in parts
        if not isinstance(part, Cut)
        for row in ([part] if isinstance(part, Row) else part.rows)
    ]
    assert [text(row.left) for row in rows if row.left] == lines_of(before)
    assert [text(row.right) for row in rows if row.right] == lines_of(after)
    assert all((text(row.left) == text(row.right)) == row.same for row in rows)
