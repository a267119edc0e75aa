"""Text and tables fit the width of the terminal, and nothing that belongs together is parted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeexit.cli.layout import lay_out_table
from edgeexit.cli.printing import merge_similar_lines
from edgeexit.cli.wrapping import split_into_pieces, wrap

WORDS = st.lists(st.text(st.sampled_from("abcäé_./:"), min_size=1, max_size=30), max_size=30).map(" ".join)


@given(text=WORDS, width=st.integers(10, 120))
def test_lines_hold_every_word_whole_and_are_no_longer_than_they_must(text: str, width: int) -> None:
    """A line is longer than the width only where one word is."""
    lines = wrap(text, width)

    assert text.split() == " ".join(lines).split()
    assert all(len(line) <= width or " " not in line for line in lines)


@pytest.mark.parametrize(
    "piece",
    [
        "'mean<=0.7751x, drop<=1'",
        '"mean<=5ms, drop<=0.5"',
        "edgeexit calibrate net.eexit --from-curve --target 'mean<=0.78x, drop<=1'",
        "edgeexit compile model.onnx -o nothing.eexit",
        'pip install "edgeexit[torch]"',
        "amd-epyc-24bac5281a/onnxruntime-staged-float32-t1",
        "12.3 %",
        "620 µs",
        "(≤ 3.21 ms)",
        "1.50 points",
    ],
)
@pytest.mark.parametrize("width", [20, 40, 79])
def test_what_is_copied_or_read_as_one_stays_on_one_line(piece: str, width: int) -> None:
    """Targets, commands, keys and numbers with their units, wherever the line would end."""
    for before in range(12):
        text = f"{'word ' * before}{piece} and more words"

        assert any(piece in line for line in wrap(text, width))


def test_an_apostrophe_does_not_begin_a_quotation() -> None:
    """`the model's own … the users' words` is plain prose."""
    assert ["the", "model's", "own", "and", "the", "users'", "words"] == list(
        split_into_pieces("the model's own and the users' words")
    )


def test_without_a_width_lines_are_as_they_were() -> None:
    """For a file or a pipe."""
    assert ["a  b " + "c" * 200, " d"] == wrap("a  b " + "c" * 200 + "\n d", None)


COLUMNS = st.integers(2, 34)


@given(
    columns=COLUMNS, rows=st.integers(1, 4), width=st.sampled_from([80, 120]), cell=st.sampled_from(["1.23 ms", "n/a"])
)
def test_every_table_fits_however_many_columns_it_has(columns: int, rows: int, width: int, cell: str) -> None:
    """Thirty-two exits too; every cell is shown."""
    headings = ["", *(f"exit {k}" for k in range(1, columns))]
    body = [[f"row {r}", *[cell] * (columns - 1)] for r in range(rows)]

    lines = [line.text for line in lay_out_table(headings, body, width)]

    assert all(len(line) <= width for line in lines)
    assert rows * (columns - 1) == "\n".join(lines).count(cell)


def test_a_cell_that_leaves_no_room_makes_one_block_a_row() -> None:
    """A key of fifty letters beside four other columns."""
    key = "amd-epyc-24bac5281a/onnxruntime-staged-float32-t1"
    row = (key, "mean<=0.6x, drop<=0.5", "0.786", "2026-11-29T01:02:03+00:00")

    lines = [line.text for line in lay_out_table(("device", "target", "thresholds (nats)", "made"), [row], 80)]

    assert f"device             {key}" == lines[0]
    assert all(len(line) <= 80 for line in lines)


def test_numbers_stand_on_the_right_and_words_on_the_left() -> None:
    """So that sizes can be compared at a glance; a column with a missing value is still one of numbers."""
    rows = [("mean", "3.90 ms", "met"), ("drop", "12.90 ms", "NOT MET"), ("energy", "n/a", "met")]

    lines = [line.text for line in lay_out_table(("bound", "measured", ""), rows, 80)]

    assert ["mean     3.90 ms  met", "drop    12.90 ms  NOT MET", "energy       n/a  met"] == lines[2:]


def test_sentences_that_differ_in_numbers_become_one_that_lists_the_exits() -> None:
    """With 32 exits they are dozens: the first as it is, of the others the first number that differs, ranges shortened."""
    exits = [1, 3, 4, 5, 6, 9]
    sentences = [
        f"leaving at exit {k} takes {k}.5 {'ms' if k < 5 else 's'}, the backbone 2 ms: it cannot pay." for k in exits
    ]

    assert [f"{sentences[0]} (and 3 to 6, 9)", "another"] == merge_similar_lines([*sentences, "another", sentences[0]])
