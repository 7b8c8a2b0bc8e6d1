"""Text can never become markup."""

from hypothesis import given
from hypothesis import strategies as st

from simulator.portal.html import h, render


@given(st.text())
def test_text_and_attributes_are_escaped(text: str) -> None:
    said = h("p", text, title=text)
    assert said.count("<") == 2
    assert said.count('"') == 2


def test_elements_nest_and_attributes_have_html_names() -> None:
    inner = h("input", name="a", required=True, disabled=False, maxlength=None)
    assert inner == '<input name="a" required>'
    assert h("p", inner, [None, "x<y"], class_="c", data_testid="t") == '<p class="c" data-testid="t"><input name="a" required>x&lt;y</p>'
    assert render(None) == ""
