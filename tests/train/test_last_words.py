"""The last words of a process that trains with others: those of this attempt alone."""

from pathlib import Path

import pytest

from aqr_exp.train.ranks import _said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("=== attempt, rank 1\nfirst\nlast\n\n", "; its last words: last"),
        ("=== attempt, rank 1\nof an earlier one\n=== attempt, rank 1\n", ""),
        ("=== attempt 2, 2026-01-01T00:00:00+00:00\n", ""),
        ("", ""),
    ],
)
def test_words_of_an_earlier_attempt_are_not_quoted(text: str, words: str, tmp_path: Path) -> None:
    log = tmp_path / "rank-1.log"
    log.write_text(text)
    assert _said(log) == words
