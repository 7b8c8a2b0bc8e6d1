from pathlib import Path

from agent.ocpp_client.support_page import support_page

PAGE = Path(__file__).parents[2] / "docs" / "ocpp-support.md"


def test_page_is_current() -> None:
    """Otherwise: python -m agent.ocpp_client.support_page > docs/ocpp-support.md."""
    assert PAGE.read_text() == support_page()
