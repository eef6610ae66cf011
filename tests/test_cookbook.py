"""docs/cookbook.md: each of its queries has the answer that it shows, and it is what it promises to be."""

import re

import pytest
from conftest import Etl
from cookbook import DOCUMENT, IncompleteError, answered, psql, questions
from cookbook_story import tell

QUESTIONS = questions(DOCUMENT.read_text("utf-8"))


def test_each_query_has_the_answer_that_is_printed_below_it(empty_database_url: str) -> None:
    tell(empty_database_url)
    document = DOCUMENT.read_text("utf-8")
    assert answered(document, lambda query: psql(empty_database_url, query)) == document


def test_there_are_twenty_one_questions_each_with_a_word_of_advice() -> None:
    assert len({question.title for question in QUESTIONS}) == 21
    assert all(question.title.endswith("?") and question.words for question in QUESTIONS)


def test_a_query_fits_on_a_page() -> None:
    assert max(len(question.query.splitlines()) for question in QUESTIONS) <= 25
    assert max(len(line) for question in QUESTIONS for line in question.query.splitlines()) <= 115


def test_every_view_and_every_function_of_the_contract_is_asked(etl: Etl) -> None:
    contract = etl.query(
        "SELECT relname AS name FROM pg_class WHERE relnamespace = 'cleanrooms'::regnamespace"
        " UNION SELECT proname FROM pg_proc WHERE pronamespace = 'cleanrooms'::regnamespace"
    )
    asked = {name for question in QUESTIONS for name in re.findall(r"\bcleanrooms\.(\w+)", question.query)}
    assert asked == {row["name"] for row in contract}


@pytest.mark.parametrize("below", ["", "```sql\nSELECT 1;\n```\n", "```sql\nSELECT 1;\n```\n\n```\n 1\n```\n"])
def test_a_question_without_its_answer_is_refused(below: str) -> None:
    with pytest.raises(IncompleteError, match="'How many"):
        questions(f"# Cookbook\n\n### How many?\n\nCount them.\n\n{below}")


def test_an_answer_that_is_no_longer_true_is_written_anew() -> None:
    stale = "### How many?\n\nAll.\n\n```sql\nSELECT 2;\n```\n```\n 1\n```\n"
    assert answered(stale, lambda query: f" {query[7]}\n") == stale.replace(" 1\n", " 2\n")
