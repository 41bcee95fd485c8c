"""Findings as values: their text in a file, and which of them are shown."""

import pytest

from bayes_cpt.plausibility.findings import Finding, accepting, also, as_text, from_text, sentences

REFUSAL = Finding("two-losses", "refusal", 'a "b"\n', 0, (2.5, 2.9), "two losses")
WARNING = Finding("outlier", "warning", "null", 100, (9.7, 2.5), "a spike")


def test_text_gives_the_same_findings():
    assert from_text(as_text([REFUSAL, WARNING])) == (REFUSAL, WARNING)


@pytest.mark.parametrize(
    ("accepted", "refused", "shown"),
    [
        ([], ["two-losses"], ["two losses", "a spike"]),
        (["outlier"], ["two-losses"], ["two losses"]),
        (["two-losses"], [], ["two losses", "a spike"]),
        (["two-losses", "outlier"], [], ["two losses"]),
    ],
)
def test_accepting_turns_a_refusal_into_a_warning_and_silences_a_warning(
    accepted: list[str], refused: list[str], shown: list[str]
):
    found = accepting([REFUSAL, WARNING], accepted)
    assert [finding.name for finding in found if finding.is_refused] == refused
    assert sentences(found) == shown


def test_words_for_other_runs():
    assert also(["a"], "a") == ""
    assert also(["a", "b"], "a") == " (so does 'b')"
    assert also("abcdefgh", "a") == " (so do 'b', 'c', 'd', 'e', 'f' and 2 more)"
