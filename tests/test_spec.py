"""Names of classes: what people call things, in any script."""

import time
import unicodedata

import pytest

from fashion_mnist.spec import find_name_problem, normal_names


@pytest.mark.parametrize("name", ["می‌خواهم", "👩‍🚒", "T-shirt top", "Ελλάδα", "🫨"])
def test_names_in_any_script_are_allowed(name: str) -> None:
    assert find_name_problem((name, "other")) is None


@pytest.mark.parametrize(
    "name", ["", "  ", "\u200d", "\u00a0", "a\nb", "a\0", "\x1b[31m", "a\u2028b", "\udcff"]
)
def test_empty_and_control_characters_are_refused(name: str) -> None:
    assert find_name_problem((name, "other")) == f"the class name {name!r} is empty or not printable"


def test_a_name_has_at_most_200_characters() -> None:
    assert find_name_problem(("é" * 200, "other")) is None
    problem = find_name_problem(("é" * 201, "other"))
    assert problem == f"the class name {'é' * 40!r}… has 201 characters, at most 200 fit"


def test_one_name_in_two_forms_is_the_same_name() -> None:
    composed, decomposed = (unicodedata.normalize(form, "crème") for form in ("NFC", "NFD"))
    assert composed != decomposed
    assert normal_names((decomposed,)) == (composed,)
    assert find_name_problem((composed, decomposed)) == f"the class name {decomposed!r} appears twice"


def test_ten_thousand_names_are_checked_at_once() -> None:
    names = tuple(f"class {number}" for number in range(10_000))
    start = time.perf_counter()
    assert find_name_problem(names) is None
    assert time.perf_counter() - start < 0.5  # it was 2.1 s when each name was compared with all others
