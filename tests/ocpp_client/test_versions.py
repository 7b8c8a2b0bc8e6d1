import subprocess
import sys

import pytest

from agent.config import model
from agent.domain.ids import EvseId
from agent.ocpp_client.versions import BUILT_VERSIONS, load_adapter
from tests.ocpp_client.samples import DEFINITIONS, Clock


@pytest.mark.parametrize("version", BUILT_VERSIONS)
def test_every_built_version_has_an_adapter(version: str) -> None:
    adapter = load_adapter(version, definitions=DEFINITIONS, clock=Clock(), connectors={EvseId(1): 1})
    assert adapter.subprotocol == f"ocpp{version}"


def test_configuration_allows_what_is_built() -> None:
    assert set(model.BUILT_VERSIONS) == set(BUILT_VERSIONS)


def test_version_that_is_not_built_is_named() -> None:
    with pytest.raises(ValueError, match=r"OCPP 2\.1 is not built; ocpp\.versions may hold 2\.0\.1, 1\.6"):
        load_adapter("2.1", definitions=(), clock=Clock(), connectors={})


@pytest.mark.parametrize(("version", "other"), [("1.6", "v201"), ("2.0.1", "v16")])
def test_only_the_version_asked_for_is_imported(version: str, other: str) -> None:
    script = (
        "import sys\n"
        "from agent.ocpp_client.versions import load_adapter\n"
        f"load_adapter({version!r}, definitions=(), clock=None, connectors={{}})\n"
        f"assert not any(name.startswith('agent.ocpp_client.{other}') for name in sys.modules)\n"
        "assert 'fastjsonschema' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, timeout=60)
