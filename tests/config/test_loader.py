"""Reading the configuration: a good file gives values, and a bad one gives every mistake at once."""

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.config.loader import ConfigError, load_config
from agent.config.model import Cable, Config, Grid, Language, MeterLossPolicy, PowerLossPolicy
from tests.config.files import CONTRACT, Write, changed, mistakes, only


class TestGoodFile:
    def test_the_minimal_configuration_of_the_contract_is_read(self, write: Write) -> None:
        config = load_config(write(CONTRACT))
        assert config.station.id == "CP001"
        assert config.station.uid == "7F3K-22QX"
        assert config.station.lab is True
        assert config.ocpp.versions == ("2.0.1", "1.6")
        assert config.store.directory == Path("/var/lib/charger-agent")
        assert config.hal.options == {"control_socket": "/tmp/sim.sock"}
        assert config.evse[0].meter is not None
        assert config.evse[0].meter.url == "tcp://127.0.0.1:5020?device=1"
        assert config.variables == {"SampledDataCtrlr.TxUpdatedInterval": "60", "HeartbeatInterval": "300"}

    def test_what_is_absent_has_its_default(self, write: Write) -> None:
        config = load_config(write(CONTRACT))
        assert config.station.grid is Grid.TN
        assert config.session.power_loss_policy is PowerLossPolicy.STOP
        assert config.session.on_meter_loss is MeterLossPolicy.STOP
        assert config.display is None
        assert config.evse[0].connector[0].cable is Cable.TETHERED
        assert config.evse[0].connector[0].has_lock is False
        assert config.qr.template == ""

    def test_everything_else_is_read(self, write: Write, tmp_path: Path) -> None:
        text = changed('region = "Viken"', 'region = "Viken"\ngrid = "IT"\nfirmware_version = "2026.1"').replace(
            "[variables]",
            f"""[[evse.connector]]
cable = "socket"
[[evse]]
id = 2
max_current_a = 6
phases = 1
roaming_evse_id = "NO*ABC*E1234*1"
[[evse.connector]]
type = "sType2"
cable = "socket"
lock = false
[session]
on_meter_loss = "stop_after"
meter_loss_timeout_s = 90
[qr]
template = "https://pay.example.com/{{chargingstationid}}/{{evse}}"
[display]
output = "png"
width = 320
height = 240
language = "nb"
path = "{tmp_path}/display.png"
[log]
level = "debug"
[variables]
"TariffCostCtrlr.Price" = 4.50
"AuthCtrlr.LocalPreAuthorize" = true""",
        )
        config = load_config(write(text))
        first, second = config.evse
        assert first.connector[0].has_lock is True
        assert first.connector[0].connector_type == "sType2"
        assert second.meter is None
        assert second.connector[0].has_lock is False
        assert second.roaming_evse_id == "NO*ABC*E1234*1"
        assert config.session.meter_loss_timeout_s == 90
        assert config.display is not None
        assert config.display.language is Language.BOKMAL
        assert config.display.path == tmp_path / "display.png"
        assert config.station.grid is Grid.IT
        assert config.variables["TariffCostCtrlr.Price"] == "4.50"  # never a binary float
        assert config.variables["AuthCtrlr.LocalPreAuthorize"] == "true"

    def test_numbers_for_a_driver_are_decimal(self, write: Write) -> None:
        config = load_config(write(changed('control_socket = "/tmp/sim.sock"', "ratio = 0.1")))
        assert config.hal.options == {"ratio": Decimal("0.1")}

    def test_a_byte_order_mark_and_windows_line_ends_do_not_matter(self, write: Write) -> None:
        assert load_config(write(b"\xef\xbb\xbf" + CONTRACT.replace("\n", "\r\n").encode())).station.id == "CP001"

    def test_the_uid_is_not_in_the_repr(self, write: Write) -> None:
        assert "7F3K" not in repr(load_config(write(CONTRACT)))


class TestConfigDirectory:
    def test_later_files_win_and_tables_are_merged(self, write: Write) -> None:
        path = write(CONTRACT, a='[station]\nid = "CP002"\n', b='[station]\nid = "CP003"\nregion = "Oslo"\n')
        station = load_config(path).station
        assert (station.id, station.region, station.vendor) == ("CP003", "Oslo", "Example")

    def test_arrays_are_replaced_whole(self, write: Write) -> None:
        path = write(CONTRACT, site="[[evse]]\nid = 1\nmax_current_a = 16\nphases = 1\n")
        (evse,) = load_config(path).evse
        assert (evse.max_current_a, evse.meter) == (16, None)

    def test_a_mistake_names_the_file_that_it_stands_in(self, write: Write) -> None:
        path = write(changed('country = "NO"', 'country = "Norway"'), site='[ocpp]\nversions = ["7"]\n')
        assert {(mistake.file.name, mistake.key) for mistake in mistakes(path)} == {
            ("config.toml", "station.country"),
            ("site.toml", "ocpp.versions[0]"),
        }

    def test_a_value_of_the_main_file_that_a_later_array_replaced_is_not_blamed(self, write: Write) -> None:
        path = write(changed("max_current_a = 32", "max_current_a = 3200"), site="[[evse]]\nid = 1\nmax_current_a = 100\nphases = 1\n")
        assert only(path).file.name == "site.toml"

    def test_other_files_are_not_read(self, write: Write, tmp_path: Path) -> None:
        path = write(CONTRACT, site="")
        (tmp_path / "config.d" / "site.toml.bak").write_text("nonsense", encoding="utf-8")
        assert load_config(path).station.id == "CP001"


class TestUnreadable:
    def test_no_such_file(self, tmp_path: Path) -> None:
        mistake = only(tmp_path / "none.toml")
        assert mistake.problem == "there is no such file"
        assert "--config" in mistake.advice

    def test_a_directory(self, tmp_path: Path) -> None:
        assert "cannot be read" in only(tmp_path).problem

    def test_not_utf8(self, write: Write) -> None:
        assert only(write(b'[station]\nregion = "Tr\xf8ndelag"\n')).problem == "is not UTF-8 text (byte 23)"

    def test_not_toml(self, write: Write) -> None:
        mistake = only(write("[station\nid = 1"))
        assert "is not TOML" in mistake.problem
        assert "line 1" in mistake.problem

    def test_the_same_key_twice(self, write: Write) -> None:
        assert "is not TOML" in only(write(changed('id = "CP001"', 'id = "CP001"\nid = "CP002"'))).problem

    def test_nested_too_deeply(self, write: Write) -> None:
        assert only(write("a = " + "[" * 100_000)).problem == "is nested too deeply"

    def test_every_unreadable_file_is_named_and_no_key_is_called_missing(self, write: Write) -> None:
        found = mistakes(write("=", a="=", b="[station]"))
        assert [mistake.file.name for mistake in found] == ["config.toml", "a.toml"]

    def test_an_empty_file_lists_what_must_be_there(self, write: Write) -> None:
        found = mistakes(write(""))
        assert [mistake.key for mistake in found] == ["station", "ocpp", "hal", "evse"]
        assert "id, serial_number, vendor, model, country" in found[0].advice
        assert "[[evse]]" in found[3].advice


WRONG: list[tuple[str, str, str, str, str]] = [
    # id, old, new, key, part of the line
    ("id_characters", 'id = "CP001"', 'id = "CP 001"', "station.id", "'CP 001': is not of the right form; allowed: 1 to 48 letters"),
    ("id_length", 'id = "CP001"', f'id = "{"x" * 49}"', "station.id", "is 49 long"),
    ("id_empty", 'id = "CP001"', 'id = ""', "station.id", "is empty"),
    ("id_type", 'id = "CP001"', "id = 1", "station.id", "1: expected a text in quotes"),
    ("country_lower", 'country = "NO"', 'country = "no"', "station.country", 'write "NO"'),
    ("country_long", 'country = "NO"', 'country = "NOR"', "station.country", "two capital letters of ISO 3166-1"),
    ("grid", 'region = "Viken"', 'grid = "TNS"', "station.grid", '\'TNS\': is not known, did you mean TN?; allowed: "TN", "TT", "IT"'),
    ("lab_text", "lab = true", 'lab = "yes"', "station.lab", "expected true or false without quotes"),
    ("url_scheme", "ws://127.0.0.1:9000/", "http://127.0.0.1:9000/", "ocpp.url", "write ws://127.0.0.1:9000/"),
    ("url_host", "ws://127.0.0.1:9000/", "ws://", "ocpp.url", "is not of the right form"),
    ("version", '"2.0.1", "1.6"', '"2.0.1", "2.1"', "ocpp.versions[1]", "'2.1': is not known"),
    ("version_twice", '"2.0.1", "1.6"', '"1.6", "1.6"', "ocpp.versions[1]", "stands twice"),
    ("version_number", '"2.0.1", "1.6"', "1.6", "ocpp.versions[0]", "expected a text in quotes"),
    ("versions_none", '["2.0.1", "1.6"]', "[]", "ocpp.versions", "has 0 entries"),
    ("versions_text", '["2.0.1", "1.6"]', '"1.6"', "ocpp.versions", "expected an array"),
    ("profile", "security_profile = 0", "security_profile = 3", "ocpp.security_profile", "is not built: use 2"),
    ("profile_bool", "security_profile = 0", "security_profile = true", "ocpp.security_profile", "expected a whole number"),
    ("relative", '"/var/lib/charger-agent"', '"data"', "store.directory", "is not an absolute path"),
    ("socket_long", '"/run/charger-agent/diag.sock"', f'"/{"é" * 54}"', "diagnostics.socket", "is 109 long"),
    ("current_low", "max_current_a = 32", "max_current_a = 5", "evse[0].max_current_a", "5: is too small; allowed: 6 to 80 A"),
    ("current_high", "max_current_a = 32", "max_current_a = 81", "evse[0].max_current_a", "81: is too large; allowed: 6 to 80 A"),
    ("current_fraction", "max_current_a = 32", "max_current_a = 10.5", "evse[0].max_current_a", "10.5: expected a whole number"),
    ("phases", "phases = 3", "phases = 2", "evse[0].phases", "2: is not known; allowed: 1, 3"),
    ("evse_table", "[[evse]]", "[evse]", "evse", "sections that begin with [[evse]]"),
    ("missing", 'model = "AC22"\n', "", "station.model", 'is missing; allowed: 1 to 20 characters; write it, for example model = "AC22"'),
    ("missing_in_array", 'template = "eastron-sdm630"\n', "", "evse[0].meter.template", "is missing"),
    ("unknown", 'vendor = "Example"', 'vendor = "Example"\nvender = "x"', "station.vender", "did you mean vendor?"),
    ("unknown_section", "[store]", "[sotre]", "sotre", "did you mean store?"),
    ("misplaced", 'vendor = "Example"', 'vendor = "Example"\nmax_current_a = 3', "station.max_current_a", "it belongs into [[evse]]"),
    ("deeply_misplaced", "phases = 3", "phases = 3\ntemplate = 3", "evse[0].template", "it belongs into [evse.meter]"),
    ("section_is_text", "[station]\n", 'log = "debug"\n[station]\n', "log", "'debug': expected a section; allowed: a table such as [log]"),
    (
        "variable_table",
        '"SampledDataCtrlr.TxUpdatedInterval"',
        "SampledDataCtrlr.TxUpdatedInterval",
        "variables.SampledDataCtrlr",
        '"SampledDataCtrlr.TxUpdatedInterval" = ...',
    ),
    (
        "variable_list",
        "HeartbeatInterval = 300",
        "HeartbeatInterval = [300]",
        "variables.HeartbeatInterval",
        "write a list as one text with commas",
    ),
    ("variable_nan", "HeartbeatInterval = 300", "HeartbeatInterval = nan", "variables.HeartbeatInterval", "is not a value"),
    (
        "two_connectors",
        "[variables]",
        "[[evse.connector]]\n[[evse.connector]]\n[variables]",
        "evse[0].connector",
        "has 2 entries; allowed: 1",
    ),
    ("qr_scheme", "[variables]", '[qr]\ntemplate = "ftp://p.example"\n[variables]', "qr.template", "an http or https URL"),
    ("newline", 'region = "Viken"', 'vendr = "a"\nregion = """a\n\n' + "x" * 60 + '"""', "station.region", "is 63 long"),
]


@pytest.mark.parametrize(("old", "new", "key", "part"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_a_wrong_value_is_named_with_what_is_allowed(write: Write, old: str, new: str, key: str, part: str) -> None:
    path = write(changed(old, new))
    matching = [str(mistake) for mistake in mistakes(path) if mistake.key == key]
    assert len(matching) == 1, matching
    assert matching[0].startswith(f"{path}: {key}")
    assert part in matching[0]


def test_all_mistakes_are_reported_at_once(write: Write) -> None:
    text = CONTRACT
    for old, new in [
        ('id = "CP001"', 'id = "CP 001"'),
        ('country = "NO"', 'country = "no"'),
        ('"2.0.1", "1.6"', '"2.0.1", "3"'),
        ("max_current_a = 32", "max_current_a = 320"),
        ('template = "eastron-sdm630"', 'tempalte = "eastron-sdm630"'),
        ("[store]", "[sotre]"),
    ]:
        text = text.replace(old, new)
    text += '[qr]\ntemplate = "https://p.example/{uid}"\n'
    assert {mistake.key for mistake in mistakes(write(text))} == {
        "station.id",
        "station.country",
        "ocpp.versions[1]",
        "evse[0].max_current_a",
        "evse[0].meter.tempalte",
        "evse[0].meter.template",
        "sotre",
        "qr.template",
    }


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('id = "CP001"', 'id = "CP001"\nuid2 = "hunter2"'),
        ("security_profile = 0", 'security_profile = 0\npassword = "hunter2"'),
        ("ws://127.0.0.1:9000/", "ws://me:hunter2@127.0.0.1:9000/"),
        ("ws://127.0.0.1:9000/", "ws://127.0.0.1:9000/?token=hunter2"),
        ('uid = "7F3K-22QX"', 'uid = "hunter2 hunter2"'),
        ("HeartbeatInterval = 300", 'AuthorizationKey = "hunter2"'),
        ("HeartbeatInterval = 300", '"SecurityCtrlr.BasicAuthPassword" = "hunter2"'),
    ],
)
def test_no_secret_is_repeated(write: Write, old: str, new: str) -> None:
    assert "hunter2" not in str(only(write(changed(old, new))))


class TestValidators:
    """What only other packages know comes in by key, and is reported with the rest."""

    def test_a_value_is_judged_by_its_validator_beside_other_mistakes(self, write: Write) -> None:
        path = write(changed('country = "NO"', 'country = "no"'))
        found = mistakes(path, {"evse.meter.template": lambda value: f"no template {value}"})
        assert {(mistake.key, mistake.problem) for mistake in found} == {
            ("station.country", "is not of the right form"),
            ("evse[0].meter.template", "no template eastron-sdm630"),
        }

    def test_each_variable_is_judged_with_its_name(self, write: Write) -> None:
        seen: list[object] = []

        def refuse_heartbeat(value: object) -> str | None:
            seen.append(value)
            return "is too short" if value == ("HeartbeatInterval", "300") else None

        assert only(write(CONTRACT), {"variables": refuse_heartbeat}).key == "variables.HeartbeatInterval"
        assert ("SampledDataCtrlr.TxUpdatedInterval", "60") in seen

    def test_a_validator_sees_only_values_of_the_right_form(self, write: Write) -> None:
        seen: list[object] = []
        mistakes(write(changed("phases = 3", "phases = 5")), {"evse.phases": seen.append})
        assert seen == []

    def test_a_section_can_be_judged_whole(self, write: Write) -> None:
        found = only(write(CONTRACT), {"evse.meter": lambda value: "is not wired" if value else None})
        assert (found.key, found.value) == ("evse[0].meter", None)


_scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20))
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3), max_leaves=6
)


def _toml(value: object) -> str:
    match value:
        case None:
            return '"x"'
        case bool():
            return "true" if value else "false"
        case str():
            return '"' + "".join(f"\\U{ord(char):08x}" for char in value) + '"'
        case list():
            return "[" + ", ".join(_toml(item) for item in value) + "]"
        case dict():
            return "{" + ", ".join(f"{_toml(key)} = {_toml(item)}" for key, item in value.items()) + "}"
        case _:
            return str(value)


_LINES = [line for line in CONTRACT.splitlines() if " = " in line]


@given(line=st.sampled_from(_LINES), value=_values)
@example(line=_LINES[-2], value={"\x85": 1})
def test_any_value_in_any_place_gives_a_configuration_or_mistakes(
    tmp_path_factory: pytest.TempPathFactory, line: str, value: object
) -> None:
    path = tmp_path_factory.mktemp("any") / "config.toml"
    path.write_text(CONTRACT.replace(line, f"{line.partition(' = ')[0]} = {_toml(value)}", 1), encoding="utf-8", errors="surrogatepass")
    outcome = _outcome(path)
    if isinstance(outcome, ConfigError):
        assert len(str(outcome).splitlines()) == len(outcome.mistakes) > 0
    else:
        assert outcome.station.vendor


def _outcome(path: Path) -> Config | ConfigError:
    try:
        return load_config(path)
    except ConfigError as error:
        return error
