"""Reading the configuration: a good file gives values, and a bad one gives every mistake at once."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.config.loader import ConfigError, Mistake, Validator, load_config
from agent.config.model import Cable, Config, Grid, Language, MeterLossPolicy, PowerLossPolicy

CONTRACT = """
[station]
id = "CP001"
serial_number = "SN-0001"
uid = "7F3K-22QX"
vendor = "Example"
model = "AC22"
country = "NO"
region = "Viken"
lab = true
[ocpp]
url = "ws://127.0.0.1:9000/"
versions = ["2.0.1", "1.6"]
security_profile = 0
[store]
directory = "/var/lib/charger-agent"
[diagnostics]
socket = "/run/charger-agent/diag.sock"
[hal]
driver = "simulator"
[hal.options]
control_socket = "/tmp/sim.sock"
[[evse]]
id = 1
max_current_a = 32
phases = 3
[evse.meter]
driver = "modbus"
template = "eastron-sdm630"
url = "tcp://127.0.0.1:5020?device=1"
[variables]
"SampledDataCtrlr.TxUpdatedInterval" = 60
HeartbeatInterval = 300
"""
"""The minimal configuration of the contract with test rigs."""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write config.toml, and by keyword files of config.d; gives the path of the first."""

    def write(main: str | bytes, **further: str) -> Path:
        path = tmp_path / "config.toml"
        path.write_bytes(main.encode() if isinstance(main, str) else main)
        for name, text in further.items():
            (tmp_path / "config.d").mkdir(exist_ok=True)
            (tmp_path / "config.d" / f"{name}.toml").write_text(text, encoding="utf-8")
        return path

    return write


def mistakes(path: Path, validators: Mapping[str, Validator] | None = None) -> tuple[Mistake, ...]:
    with pytest.raises(ConfigError) as caught:
        load_config(path, validators or {})
    lines = str(caught.value).splitlines()
    assert lines == [str(mistake) for mistake in caught.value.mistakes]  # one line each, whatever the value holds
    return caught.value.mistakes


def only(path: Path, validators: Mapping[str, Validator] | None = None) -> Mistake:
    found = mistakes(path, validators)
    assert len(found) == 1, [str(mistake) for mistake in found]
    return found[0]


def changed(old: str, new: str) -> str:
    assert CONTRACT.count(old) == 1, old
    return CONTRACT.replace(old, new)


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
    ("evse_id", "id = 1\n", "id = 2\n", "evse[0].id", "2: EVSEs are numbered from 1 without a gap"),
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
    ("vendor_1_6", 'vendor = "Example"', f'vendor = "{"x" * 21}"', "station.vendor", "20 characters where ocpp.versions offers 1.6"),
    (
        "two_connectors",
        "[variables]",
        "[[evse.connector]]\n[[evse.connector]]\n[variables]",
        "evse[0].connector",
        "has 2 entries; allowed: 1",
    ),
    (
        "tethered_lock",
        "[variables]",
        "[[evse.connector]]\nlock = true\n[variables]",
        "evse[0].connector[0].lock",
        "a fixed cable has no plug to lock",
    ),
    (
        "cable_type",
        "[variables]",
        '[[evse.connector]]\ntype = "sType2"\n[variables]',
        "evse[0].connector[0].type",
        "begins with c for a fixed cable",
    ),
    ("qr_uid", "[variables]", '[qr]\ntemplate = "https://p.example/{uid}"\n[variables]', "qr.template", "{uid} is the owner's claim code"),
    (
        "qr_placeholder",
        "[variables]",
        '[qr]\ntemplate = "https://p.example/{id}"\n[variables]',
        "qr.template",
        "the placeholder {id} is not known",
    ),
    ("qr_scheme", "[variables]", '[qr]\ntemplate = "ftp://p.example"\n[variables]', "qr.template", "an http or https URL"),
    (
        "display_size",
        "[variables]",
        '[display]\noutput = "x"\nwidth = 640\n[variables]',
        "display.width",
        "no screens are drawn for 640×480; allowed: 320×240, 800×480",
    ),
    ("display_path", "[variables]", '[display]\noutput = "png"\n[variables]', "display.path", 'output = "png" needs it'),
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


class TestSecurity:
    PASSWORD = "correct horse battery"

    def secured(
        self, tmp_path: Path, *, profile: int = 2, url: str = "wss://csms.example.com/", lab: bool = False, mode: int = 0o600
    ) -> str:
        file = tmp_path / "password"
        file.write_text(self.PASSWORD + "\n", encoding="utf-8")
        file.chmod(mode)
        text = CONTRACT if lab else changed("lab = true\n", "")
        return text.replace("security_profile = 0", f'security_profile = {profile}\npassword_file = "{file}"').replace(
            "ws://127.0.0.1:9000/", url
        )

    def test_profile_2_with_a_password_file_is_good(self, write: Write, tmp_path: Path) -> None:
        assert load_config(write(self.secured(tmp_path))).ocpp.security_profile == 2

    def test_2_x_without_security_needs_lab(self, write: Write) -> None:
        mistake = only(write(changed("lab = true\n", "")))
        assert mistake.key == "ocpp.security_profile"
        assert "lab = true" in mistake.advice

    def test_1_6_alone_may_go_without_security(self, write: Write) -> None:
        assert load_config(write(changed("lab = true\n", "").replace('"2.0.1", "1.6"', '"1.6"'))).ocpp.versions == ("1.6",)

    def test_a_profile_with_a_password_needs_its_file(self, write: Write) -> None:
        assert only(write(changed("security_profile = 0", "security_profile = 1"))).key == "ocpp.password_file"

    @pytest.mark.parametrize(("profile", "url"), [(1, "wss://csms.example.com/"), (2, "ws://csms.example.com/")])
    def test_the_scheme_fits_the_profile(self, write: Write, tmp_path: Path, profile: int, url: str) -> None:
        mistake = only(write(self.secured(tmp_path, profile=profile, url=url)))
        assert mistake.key == "ocpp.url"
        assert f"security_profile {profile}" in mistake.problem

    def test_an_identity_with_a_colon_cannot_be_a_user_name(self, write: Write, tmp_path: Path) -> None:
        assert only(write(self.secured(tmp_path).replace('"CP001"', '"NO:CP001"'))).key == "station.id"

    def test_without_a_password_a_colon_is_allowed(self, write: Write) -> None:
        assert load_config(write(changed('"CP001"', '"NO:CP001"'))).station.id == "NO:CP001"

    @pytest.mark.parametrize(
        ("content", "part"),
        [(None, "cannot be read"), ("", "it is empty"), ("\n", "it is empty"), ("short", "16 to 40 bytes"), ("x" * 41, "16 to 40 bytes")],
    )
    def test_the_password_file_holds_a_password(self, write: Write, tmp_path: Path, content: str | None, part: str) -> None:
        text = self.secured(tmp_path)
        file = tmp_path / "password"
        if content is None:
            file.unlink()
        else:
            file.write_text(content, encoding="utf-8")
        mistake = only(write(text))
        assert mistake.key == "ocpp.password_file"
        assert part in str(mistake)
        assert "xxxx" not in str(mistake)

    def test_a_password_file_that_everybody_can_read_is_refused(self, write: Write, tmp_path: Path) -> None:
        assert "chmod 0600" in only(write(self.secured(tmp_path, mode=0o644))).problem

    def test_a_test_rig_may_do_so(self, write: Write, tmp_path: Path) -> None:
        assert load_config(write(self.secured(tmp_path, mode=0o644, lab=True))).station.lab

    def test_a_root_certificate_that_is_not_there_is_reported(self, write: Write, tmp_path: Path) -> None:
        text = self.secured(tmp_path).replace("[store]", f'ca_file = "{tmp_path}/none.pem"\n[store]')
        assert only(write(text)).key == "ocpp.ca_file"

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
    def test_no_secret_is_repeated(self, write: Write, old: str, new: str) -> None:
        assert "hunter2" not in str(only(write(changed(old, new))))

    def test_one_meter_does_not_bill_two_places(self, write: Write) -> None:
        second = '[[evse]]\nid = 2\nmax_current_a = 16\nphases = 1\n[evse.meter]\ntemplate = "x"\nurl = "tcp://127.0.0.1:5020?device=1"\n'
        mistake = only(write(changed("[variables]", f"{second}[variables]")))
        assert mistake.key == "evse[1].meter.url"
        assert "evse[0]" in mistake.problem


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
