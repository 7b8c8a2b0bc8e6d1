"""docs/ocpp-support.md, generated from the catalogues: `python -m agent.ocpp_client.support_page > docs/ocpp-support.md`."""

import sys

from agent.ocpp_client.catalog import Catalog, Context
from agent.ocpp_client.schemas import known_actions
from agent.ocpp_client.v16.catalog import CATALOG as CATALOG_16
from agent.ocpp_client.v201.catalog import CATALOG as CATALOG_201

_HEAD = """\
# Supported OCPP messages

Generated from the catalogues by `python -m agent.ocpp_client.support_page > docs/ocpp-support.md`; a test fails when it is out of date.

Every call of the CSMS is held to the official JSON schema first. A message of the version that is not served is answered with the CALLERROR
NotSupported, an action that the version does not know with NotImplemented. In an answer of the CSMS, extra fields are ignored and a
date-time without time zone is taken as UTC.
"""


def support_page() -> str:
    """The page."""
    return "\n".join([_HEAD, *_section("1.6", CATALOG_16), *_section("2.0.1", CATALOG_201)])


def _section(version: str, catalog: Catalog[Context]) -> list[str]:
    sent = [f"| {action} | {codec.sent_for} |" for action, codec in catalog.items() if codec.sent_for]
    served = [f"| {action} | {codec.done_for} |" for action, codec in catalog.items() if codec.done_for]
    absent = sorted(known_actions(version) - catalog.keys())
    return [
        f"## OCPP {version}",
        "",
        "| The station sends | when |",
        "|---|---|",
        *sent,
        "",
        "| The CSMS may send | and the station |",
        "|---|---|",
        *served,
        "",
        f"Not built: {', '.join(absent)}.",
        "",
    ]


if __name__ == "__main__":
    sys.stdout.write(support_page())
