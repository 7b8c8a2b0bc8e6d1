"""What the code says: templates in, URLs or reasons out."""

import subprocess
import sys
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.domain.ids import EvseId
from agent.qr_display.content import Code, CodeSources, NoCode, Placeholder, expand_template, host_of, placeholders, validate_template

SOURCES = CodeSources(charging_station_id="CP 001", evse=EvseId(2), serial_number="SN-0001")


@pytest.mark.parametrize(
    ("template", "payload"),
    [
        ("https://pay.example.com/c/{chargingstationid}/{evse}", "https://pay.example.com/c/CP%20001/2"),
        ("https://pay.example.com/c/{ChargingStationID}/{EVSE}", "https://pay.example.com/c/CP%20001/2"),
        ("https://pay.example.com/c?s={serialnumber}&e={evse}", "https://pay.example.com/c?s=SN-0001&e=2"),
        ("HTTP://127.0.0.1:8080/pay/{evse}", "HTTP://127.0.0.1:8080/pay/2"),
        ("https://pay.example.com/this-charger", "https://pay.example.com/this-charger"),
    ],
)
def test_a_template_becomes_a_url(template: str, payload: str) -> None:
    assert expand_template(template, SOURCES) == Code(payload)


def test_values_are_url_encoded_so_that_an_id_cannot_change_the_url() -> None:
    sources = CodeSources(charging_station_id="DE*ABC:E1 ?x=1&y#z/../{evse}", evse=EvseId(1))
    result = expand_template("https://pay.example.com/c/{chargingstationid}/end", sources)
    assert result == Code("https://pay.example.com/c/DE%2AABC%3AE1%20%3Fx%3D1%26y%23z%2F..%2F%7Bevse%7D/end")


@pytest.mark.parametrize("name", ["totp", "version", "roamingevseid", "serialnumber", "TOTP"])
def test_a_placeholder_without_source_gives_no_code_and_says_which(name: str) -> None:
    result = expand_template(f"https://pay.example.com/{{{name}}}", CodeSources(charging_station_id="CP001", evse=EvseId(1)))
    assert isinstance(result, NoCode)
    assert f"{{{name.lower()}}}" in result.reason


def test_a_placeholder_with_a_source_is_filled() -> None:
    sources = CodeSources(charging_station_id="CP001", evse=EvseId(1), totp="CN63y502maVh", version="v1", roaming_evse_id="DE*ABC*E1")
    template = "https://pay.example.com/qr/{roamingevseid}/{totp}/{version}"
    assert expand_template(template, sources) == Code("https://pay.example.com/qr/DE%2AABC%2AE1/CN63y502maVh/v1")


@pytest.mark.parametrize(
    ("template", "part"),
    [
        ("", "empty"),
        ("https://pay.example.com/{uid}", "claim code"),
        ("https://pay.example.com/{UID}", "claim code"),
        ("https://pay.example.com/{connector}", "unknown placeholder {connector}"),
        ("https://pay.example.com/{}", "unknown placeholder"),
        ("https://pay.example.com/{evse", "unbalanced brace"),
        ("https://pay.example.com/evse}", "unbalanced brace"),
        ("ftp://pay.example.com/{evse}", "https://"),
        ("javascript:alert(1)", "https://"),
        ("pay.example.com/{evse}", "https://"),
        ("https:///{evse}", "host name"),
        ("https://pay.example.com@evil.example/{evse}", "user name"),
        ("https://{chargingstationid}.example.com/", "placeholder"),
        ("https://pay.example.com:99999/", "not a URL"),
        ("https://[::1/", "not a URL"),
        ("https://pay.example.com/a b", "position 25"),
        ("https://pay.example.com/é", "percent-encode"),
        ("https://pay.example.com/\n", "percent-encode"),
        ("https://pay.example.com/" + "x" * 500, "524 characters"),
    ],
)
def test_a_wrong_template_is_refused_with_a_sentence(template: str, part: str) -> None:
    problem = validate_template(template)
    assert problem is not None
    assert part in problem
    assert expand_template(template, SOURCES) == NoCode(problem)


def test_a_good_template_has_no_problem_and_lists_its_placeholders_once() -> None:
    template = "https://pay.example.com/{EVSE}/{chargingstationid}?again={evse}"
    assert validate_template(template) is None
    assert placeholders(template) == (Placeholder.EVSE, Placeholder.CHARGING_STATION_ID)


@pytest.mark.parametrize(
    ("payload", "host"),
    [
        ("https://pay.example.com/c/1", "pay.example.com"),
        ("https://PAY.example.com:443/c/1", "pay.example.com"),
        ("http://127.0.0.1:8080/pay", "127.0.0.1:8080"),
        ("http://pay.example.com:80/", "pay.example.com"),
        ("https://[::1]:8443/x", "[::1]:8443"),
        ("https://user@evil.example/", "evil.example"),
        ("WIFI:T:WPA;S:net;;", None),
        ("https://[broken", None),
        ("plain words", None),
    ],
)
def test_the_host_is_what_the_driver_must_be_able_to_read(payload: str, host: str | None) -> None:
    assert host_of(payload) == host


@given(st.text(min_size=1, max_size=60), st.integers(1, 99))
def test_any_station_id_survives_the_way_through_the_url(station_id: str, evse: int) -> None:
    try:
        station_id.encode()
    except UnicodeEncodeError:
        return  # lone surrogates are no text
    result = expand_template(
        "https://pay.example.com/c/{chargingstationid}/{evse}", CodeSources(charging_station_id=station_id, evse=EvseId(evse))
    )
    assert isinstance(result, Code)
    assert result.payload.isascii()
    assert [unquote(part) for part in urlsplit(result.payload).path.split("/")] == ["", "c", station_id, str(evse)]


@given(st.text(max_size=80))
def test_no_text_breaks_the_check(template: str) -> None:
    result = expand_template(template, SOURCES)
    assert isinstance(result, Code) == (validate_template(template) is None)


def test_the_runtime_can_import_it_cheaply() -> None:
    program = "import sys; import agent.qr_display.content; print(sorted({'PIL', 'segno', 'babel', 'asyncio'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.strip() == "[]"
