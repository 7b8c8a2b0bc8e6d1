"""The configuration file of a daemon that is measured."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What figures vary. `world` None: the driver is `hal_driver` without options. `picture` None: no display."""

    station_id: str
    url: str
    directory: Path
    state: Path
    version: str = "1.6"
    hal_driver: str = "simulator"
    world: Path | None = None
    picture: Path | None = None
    output: str = "png"
    ca_file: Path | None = None

    @property
    def diagnostics_socket(self) -> Path:
        """The technician's socket."""
        return self.directory / "diag.sock"

    def write(self) -> Path:
        """Write the file into the directory, and the password beside it where TLS is on."""
        file = self.directory / "config.toml"
        file.write_text(self._text(), encoding="utf-8")
        return file

    def _text(self) -> str:
        security = "security_profile = 0"
        if self.ca_file is not None:
            password = self.directory / "password"
            password.write_text("0123456789abcdef0123", encoding="ascii")
            password.chmod(0o600)
            security = f'security_profile = 2\nca_file = "{self.ca_file}"\npassword_file = "{password}"'
        world = "" if self.world is None else f'[hal.options]\nworld = "{self.world}"'
        display = "" if self.picture is None else f'[display]\noutput = "{self.output}"\npath = "{self.picture}"'
        return f"""[station]
id = "{self.station_id}"
serial_number = "SN-0001"
uid = "7F3K-22QX"
vendor = "Example"
model = "AC22"
country = "NO"
region = "Viken"
lab = true
[ocpp]
url = "{self.url}"
versions = ["{self.version}"]
{security}
[store]
directory = "{self.state}"
[diagnostics]
socket = "{self.diagnostics_socket}"
{display}
[hal]
driver = "{self.hal_driver}"
{world}
[[evse]]
id = 1
max_current_a = 32
phases = 3
[qr]
template = "https://pay.example.com/{{chargingstationid}}/{{evse}}"
"""
