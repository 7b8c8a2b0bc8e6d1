"""What keys say together: security, meters, connectors, screen and QR code."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from agent.config.loader import load_config
from tests.config.files import CONTRACT, Write, changed, only

CONTRADICTIONS: list[tuple[str, str, str, str, str]] = [
    # id, old, new, key, part of the line
    ("evse_id", "id = 1\n", "id = 2\n", "evse[0].id", "2: EVSEs are numbered from 1 without a gap"),
    ("vendor_1_6", 'vendor = "Example"', f'vendor = "{"x" * 21}"', "station.vendor", "20 characters where ocpp.versions offers 1.6"),
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
    (
        "display_size",
        "[variables]",
        '[display]\noutput = "x"\nwidth = 640\n[variables]',
        "display.width",
        "no screens are drawn for 640×480; allowed: 320×240, 800×480",
    ),
    ("display_path", "[variables]", '[display]\noutput = "png"\n[variables]', "display.path", 'output = "png" needs it'),
]


@pytest.mark.parametrize(("old", "new", "key", "part"), [row[1:] for row in CONTRADICTIONS], ids=[row[0] for row in CONTRADICTIONS])
def test_a_contradiction_is_named_with_what_is_allowed(write: Write, old: str, new: str, key: str, part: str) -> None:
    mistake = only(write(changed(old, new)))
    assert mistake.key == key
    assert part in str(mistake)


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

    def test_a_device_key_that_everybody_can_read_is_refused(self, write: Write, tmp_path: Path) -> None:
        file = tmp_path / "device.pem"
        file.write_text("a key", encoding="utf-8")
        file.chmod(0o644)
        text = self.secured(tmp_path).replace("[ocpp]", f'device_key_file = "{file}"\n[ocpp]')
        assert "chmod 0600" in only(write(text)).problem

    def test_a_test_rig_may_do_so(self, write: Write, tmp_path: Path) -> None:
        assert load_config(write(self.secured(tmp_path, mode=0o644, lab=True))).station.lab

    def test_a_root_certificate_that_is_not_there_is_reported(self, write: Write, tmp_path: Path) -> None:
        text = self.secured(tmp_path).replace("[store]", f'ca_file = "{tmp_path}/none.pem"\n[store]')
        assert only(write(text)).key == "ocpp.ca_file"


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (None, "cannot be read"),
        ("", "it is empty"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "no unencrypted private key on P-256"),
        ("a password", "no unencrypted private key on P-256"),
    ],
)
def test_the_device_key_is_a_key(write: Write, tmp_path: Path, content: str | None, part: str) -> None:
    file = tmp_path / "device.pem"
    if content is not None:
        file.write_text(content, encoding="utf-8")
        file.chmod(0o600)
    mistake = only(write(changed("[ocpp]", f'device_key_file = "{file}"\n[ocpp]')))
    assert mistake.key == "station.device_key_file"
    assert part in mistake.problem


@pytest.mark.parametrize("form", [serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL])
def test_both_forms_of_a_key_are_taken(write: Write, tmp_path: Path, form: serialization.PrivateFormat) -> None:
    file = tmp_path / "device.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    file.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    file.chmod(0o600)
    assert load_config(write(changed("[ocpp]", f'device_key_file = "{file}"\n[ocpp]'))).station.device_key_file == file


def test_one_meter_does_not_bill_two_places(write: Write) -> None:
    second = '[[evse]]\nid = 2\nmax_current_a = 16\nphases = 1\n[evse.meter]\ntemplate = "x"\nurl = "tcp://127.0.0.1:5020?device=1"\n'
    mistake = only(write(changed("[variables]", f"{second}[variables]")))
    assert mistake.key == "evse[1].meter.url"
    assert "evse[0]" in mistake.problem
