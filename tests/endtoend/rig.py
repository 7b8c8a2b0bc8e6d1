"""One charger with everything around it: portal here, world and daemon as processes, and the comparison of the three books."""

import asyncio
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from agent.cli.__main__ import call as ask_diagnostics
from agent.domain.transaction import TransactionRecord
from agent.store import ledger
from agent.store.serial import load
from agent.store.store import FILE_NAME
from simulator.control import ControlClient
from simulator.demo.site import TARIFF
from simulator.portal import Payment, PaymentMethod, PaymentState, Portal

ROOT: Final = Path(__file__).parents[2]
STATION: Final = "CP001"
SERIAL: Final = "SN-0001"
QR_TEMPLATE: Final = "https://pay.example/{chargingstationid}/{evse}"
PATIENCE_S: Final = 60.0
"""How long a state is waited for: enough for a machine that does other things as well. Limits that are promised have tests of their own."""
SETTLED: Final = (PaymentState.CAPTURED, PaymentState.VOIDED)
VARIABLES: Final[Mapping[str, int]] = {
    "OCPPCommCtrlr.RetryBackOffWaitMinimum": 1,
    "OCPPCommCtrlr.RetryBackOffRandomRange": 0,
    "OCPPCommCtrlr.RetryBackOffRepeatTimes": 0,
    "OCPPCommCtrlr.MessageTimeout[Default]": 5,
    "OCPPCommCtrlr.MessageAttemptInterval[TransactionEvent]": 1,
}


def copies(message: sqlite3.Row) -> int:
    """How often the portal received a message.

    An update counts one less: meter and samples have the same rhythm here, so two samples may tell of one reading, and 1.6 has no number
    that would make two messages of them.
    """
    return int(message["copies"]) - (1 if message["kind"] == "Updated" else 0)


class Died(Exception):
    """The daemon is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnDisk:
    """What a dead daemon's file says."""

    transactions: tuple[TransactionRecord, ...]
    queued: tuple[str, ...]


class Lag:
    """What the machine itself adds to every time that is measured while it runs: `async with Lag() as lag`, then `lag.worst_s`."""

    STEP_S = 0.01

    def __init__(self) -> None:
        self.worst_s = 0.0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._measure())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _measure(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            await asyncio.sleep(self.STEP_S)
            self.worst_s = max(self.worst_s, loop.time() - begun - self.STEP_S)


class Late(Exception):
    """What was waited for did not come."""


class Charger:
    """`async with` starts portal and world; the daemon comes with `start_daemon`, as often as it has to."""

    serial_number = SERIAL
    uid = "7F3K-22QX"

    def __init__(
        self,
        directory: Path,
        *,
        version: str = "2.0.1",
        meter: str = "tcp",
        variables: Mapping[str, int] | None = None,
        session: str = "",
        state: Path | None = None,
        start_timeout_s: float = 5,
    ) -> None:
        self.directory = directory
        self.version, self.meter = version, meter
        self.control_socket = directory / "sim.sock"
        self.diagnostics_socket = directory / "diag.sock"
        self.log = directory / "charger-agent.log"
        self.config = directory / "config.toml"
        self.daemon: asyncio.subprocess.Process | None = None
        self.state = directory / "state" if state is None else state
        self.world: asyncio.subprocess.Process | None = None
        self._variables = {**VARIABLES, **(variables or {})}
        self._session = session
        self._start_timeout_s = start_timeout_s
        self._port = 0
        self.portal = self._new_portal()

    def _new_portal(self) -> Portal:
        return Portal(
            self.directory / "portal.db",
            sample_interval_s=1,
            pending_interval_s=1,
            call_timeout_s=5,
            start_timeout_s=self._start_timeout_s,
            qr_template=QR_TEMPLATE,
        )

    async def __aenter__(self) -> Self:
        await self.start_portal()
        try:
            await self._start_world()
            self.write_config()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.kill_daemon()
        if self.world is not None and self.world.returncode is None:
            self.world.terminate()
            await self.world.wait()
        await self.portal.aclose()

    # --- parts

    async def start_portal(self) -> None:
        """Listen; a portal that comes again takes the port of the one before."""
        await self.portal.start(port=self._port, web_port=None)
        self._port = self.portal.port
        self.portal.provision(self.serial_number, self.uid)

    async def restart_portal(self, away_s: float = 0.0) -> None:
        """The portal goes away and another process's portal opens the same file."""
        await self.portal.aclose()
        await asyncio.sleep(away_s)
        self.portal = self._new_portal()
        await self.start_portal()

    async def _start_world(self) -> None:
        self.world = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "simulator", "world", "--socket", str(self.control_socket), "--meter", self.meter),
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )
        assert self.world.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            line = await self.world.stdout.readline()
        if not line.startswith(b"world ready"):
            raise Late(f"the world did not start: {line!r}")

    def write_config(self) -> None:
        """The configuration of a daemon whose world lives elsewhere."""
        variables = "\n".join(f'"{name}" = {str(value).lower()}' for name, value in self._variables.items())
        self.config.write_text(
            f"""[station]
id = "{STATION}"
serial_number = "{self.serial_number}"
uid = "{self.uid}"
vendor = "Example"
model = "AC22"
country = "NO"
region = "Viken"
lab = true
[ocpp]
url = "{self.portal.ocpp_url}"
versions = ["{self.version}"]
security_profile = 0
[store]
directory = "{self.state}"
[diagnostics]
socket = "{self.diagnostics_socket}"
[hal]
driver = "simulator"
[hal.options]
world = "{self.control_socket}"
[session]
{self._session}
[[evse]]
id = 1
max_current_a = 32
phases = 3
[variables]
{variables}
""",
            encoding="utf-8",
        )

    async def start_daemon(self, *launcher: str) -> None:
        """Start the daemon, or a launcher module with its arguments, and wait until it serves; it may die before that. Raises Died."""
        module, *arguments = launcher or ("agent",)
        command = [sys.executable, "-m", module, "--config", str(self.config), *arguments]
        with self.log.open("ab") as log:
            log.write(f"--- {' '.join(command[2:])}\n".encode())
            log.flush()
            self.daemon = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log, stdin=asyncio.subprocess.DEVNULL, cwd=ROOT)
        await self.watch(self._is_served, "the daemon serves its socket")

    async def _is_served(self) -> bool:
        try:
            _, writer = await asyncio.open_unix_connection(str(self.diagnostics_socket))
        except OSError:
            return False
        writer.close()
        return True

    async def kill_daemon(self) -> None:
        """SIGKILL; nothing where there is none."""
        if self.daemon is not None and self.daemon.returncode is None:
            self.daemon.kill()
            await self.daemon.wait()

    async def end_daemon(self, number: int) -> tuple[int, float]:
        """Send a signal; its exit code and the seconds until it was gone."""
        assert self.daemon is not None
        loop = asyncio.get_running_loop()
        begun = loop.time()
        with suppress(ProcessLookupError):
            self.daemon.send_signal(number)
        async with asyncio.timeout(PATIENCE_S):
            code = await self.daemon.wait()
        return code, loop.time() - begun

    # --- waiting

    async def watch(self, condition: Any, what: str, timeout_s: float = PATIENCE_S, every_s: float = 0.1) -> None:
        """Wait for a condition that may have to ask the daemon. Raises Died when that is gone, Late with its log after the time."""
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    if self.daemon is not None and self.daemon.returncode is not None:
                        raise Died(f"with {self.daemon.returncode} before {what}\n{self.log_tail()}")
                    with suppress(ConnectionError, FileNotFoundError):
                        if await condition():
                            return
                    await asyncio.sleep(every_s)
        except TimeoutError:
            raise Late(f"not within {timeout_s:g} s: {what}\n{self.log_tail()}") from None

    async def sees(self, condition: Any, what: str, timeout_s: float = PATIENCE_S) -> None:
        """Wait for something in the portal."""

        async def check() -> bool:
            return bool(condition())

        await self.watch(check, what, timeout_s)

    async def world_becomes(self, condition: Any, what: str, timeout_s: float = PATIENCE_S) -> None:
        """Wait for something in the world, whether or not there is a daemon."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        while not condition(await self.world_evse()):
            if loop.time() > end:
                raise Late(f"not within {timeout_s:g} s: {what}: {await self.world_evse()}\n{self.log_tail()}")
            await asyncio.sleep(0.02)

    # --- the world, without the daemon

    async def control(self, method: str, **params: object) -> Any:
        """One call on the world's control socket."""
        async with await ControlClient.open(self.control_socket) as control:
            return await control.call(method, **params)  # type: ignore[arg-type]

    async def world_evse(self) -> dict[str, Any]:
        """EVSE 1 as it really is."""
        state: Any = await self.control("sim.state")
        return dict(state["evses"][0])

    async def register(self) -> Decimal:
        """The meter's own register in Wh, of the world and not through the daemon."""
        return Decimal(str((await self.world_evse())["meter"]["energy_uwh"])).scaleb(-6)

    async def plug_in(self) -> None:
        """A car that wants to charge; nothing where one is plugged in."""
        if (await self.world_evse())["vehicle"] is None:
            await self.control("ev.plug_in", evse=1, max_current_a=32, phases=3, delay_s=0)

    async def unplug(self) -> None:
        """The car leaves; nothing where there is none."""
        if (await self.world_evse())["vehicle"] is not None:
            await self.control("ev.unplug", evse=1)

    # --- people at the portal

    async def open_for_business(self) -> None:
        """The owner adds the charger, sets the price and switches on "charge with QR"; returns when the display shows the code."""
        self.portal.set_group_price(TARIFF)
        await self.portal.add_charger(serial=SERIAL, uid=self.uid, country="NO", region="Viken")
        self.portal.set_charge_with_qr(SERIAL, enabled=True)
        await self.watch(self.is_free, "the display shows the code")

    async def pay(self) -> Payment:
        """Wait until the portal sells here and the charger was accepted, and pay."""
        await self.link_is("accepted")
        await self.watch(lambda: self.holds("meter"), "the meter was read")
        await self.sees(lambda: self.portal.refusal(STATION, 1) is None, "the portal sells here")
        return await self.portal.pay(STATION, 1, PaymentMethod.VIPPS)

    async def charge(self, energy_wh: int = 3) -> None:
        """Wait until the car has taken some more energy."""
        enough = await self.register() + energy_wh

        async def has_charged() -> bool:
            return await self.register() >= enough

        await self.watch(has_charged, f"the car takes {energy_wh} Wh")

    async def knows_session(self, key: str) -> None:
        """Wait until the portal knows that the paid session runs."""
        await self.sees(lambda: self.portal.payment(key).state is PaymentState.CHARGING, "the portal knows the session")

    async def session(self) -> str:
        """Plug in, pay, and take some energy; gives the payment's key."""
        await self.plug_in()
        key = (await self.pay()).key
        await self.knows_session(key)
        await self.charge()
        return key

    async def finish(self, key: str) -> Payment:
        """Stop on the phone, unplug, and wait until everything is delivered and the EVSE is free again."""
        await self.portal.stop_payment(key)
        payment = await self.settled(key)
        await self.unplug()
        await self.watch(self.is_free, "the EVSE is free again")
        return payment

    async def settled(self, key: str, timeout_s: float = PATIENCE_S) -> Payment:
        """Wait until the payment is captured or given back, and nothing waits in the charger any more."""
        await self.sees(lambda: self.portal.payment(key).state in SETTLED, "the payment is settled", timeout_s)
        await self.watch(self.has_delivered, "everything is delivered")
        return self.portal.payment(key)

    async def has_delivered(self) -> bool:
        """Whether nothing waits for the portal."""
        queue: Any = await self.diagnose("queue")
        return not queue["waiting"]

    async def link_is(self, state: str, timeout_s: float = PATIENCE_S) -> None:
        """Wait for a state of the connection as the charger sees it."""

        async def check() -> bool:
            status: Any = await self.diagnose("status")
            return bool(status["csms"]["state"] == state)

        await self.watch(check, f"the link is {state}", timeout_s)

    async def is_free(self) -> bool:
        """Whether nothing waits for the portal and the display shows the code for the next driver."""
        return await self.has_delivered() and await self.qr() is not None

    async def diagnose(self, method: str, **params: object) -> Any:
        """One call on the technician's socket."""
        return await asyncio.to_thread(ask_diagnostics, str(self.diagnostics_socket), method, dict(params))

    async def evse(self) -> dict[str, Any]:
        """EVSE 1 as the technician sees it."""
        status = await self.diagnose("status")
        return dict(status["evses"][0])

    async def screen_is(self, kind: str) -> bool:
        """Whether the display shows this screen."""
        return bool((await self.evse())["screen"] == kind)

    async def phase_is(self, phase: str) -> bool:
        """Whether the session on EVSE 1 is in this phase."""
        return bool((await self.evse())["phase"] == phase)

    async def qr(self) -> str | None:
        """What the code on the display says now."""
        return (await self.evse())["qr"]  # type: ignore[no-any-return]

    async def sessions(self) -> list[dict[str, Any]]:
        """The charger's own books, the newest first."""
        found: Any = await self.diagnose("sessions")
        return list(found)

    async def holds(self, condition: str) -> bool:
        """Whether a condition of the chain to a closed contactor holds."""
        found: Any = await self.diagnose("why")
        return any(one["holds"] for one in found[0]["chain"] if one["name"] == condition)

    async def blocker(self) -> dict[str, Any]:
        """The one condition that keeps the car from charging; empty while none does."""
        found: Any = await self.diagnose("why")
        return dict(found[0]["blocker"] or {})

    async def events(self, name: str) -> list[dict[str, Any]]:
        """The technician's list of what happened, of one name."""
        found: Any = await self.diagnose("events", limit=500)
        return [event for event in found if event["name"] == name]

    # --- evidence

    def log_text(self) -> str:
        """The daemon's log."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def log_tail(self, lines: int = 30) -> str:
        """The end of it."""
        return "\n".join(self.log_text().splitlines()[-lines:])

    def on_disk(self) -> OnDisk:
        """Read the file of a dead daemon from a copy, so that looking at it changes nothing."""
        with tempfile.TemporaryDirectory() as copy:
            for suffix in ("", "-wal", "-shm"):
                source = self.state / f"{FILE_NAME}{suffix}"
                if source.exists():
                    shutil.copy(source, copy)
            with closing(sqlite3.connect(Path(copy) / FILE_NAME)) as db:
                assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
                records = db.execute("SELECT record FROM transactions ORDER BY ordinal").fetchall()
                queued = db.execute("SELECT event_type FROM outbox WHERE state = 'queued' ORDER BY row_id").fetchall()
                proof = ledger.verify(db)
                ended = db.execute("SELECT count(*) FROM transactions WHERE is_open = 0").fetchone()[0]
        assert (proof.problems, proof.sessions) == ((), ended), "every session that has ended is in the chain, whenever the daemon died"
        return OnDisk(transactions=tuple(load(text, TransactionRecord) for (text,) in records), queued=tuple(kind for (kind,) in queued))

    def messages(self) -> list[sqlite3.Row]:
        """What the portal received about transactions: kind, seq_no, at (the charger's time), received_at, copies; in order of arrival."""
        with closing(sqlite3.connect(self.directory / "portal.db")) as db:
            db.row_factory = sqlite3.Row
            return db.execute("SELECT tx, kind, seq_no, at, received_at, copies FROM tx_message ORDER BY id").fetchall()

    async def differences(
        self, register_before: Decimal, key: str | None = None, *, tolerated: Sequence[str] = (), is_estimated: bool = False
    ) -> list[str]:
        """Compare portal, store and meter about the one session, paid with `key` or begun with a card. Empty: nothing lost or doubled.

        `is_estimated`: the stop register could not be read, so the meter has no say.
        """
        rows, sessions = self.portal.books(), await self.sessions()
        metered_wh = int(await self.register()) - int(register_before)
        payment = None if key is None else self.portal.payment(key)
        found = [f"the portal noted {a.kind}: {a.detail}" for a in self.portal.anomalies() if a.kind not in tolerated]
        if payment is not None and payment.state is PaymentState.VOIDED and not rows:
            checks = [
                (not sessions, f"the payment was given back, yet the charger has {sessions}"),
                (metered_wh == 0, f"{metered_wh} Wh were given away"),
            ]
            return found + [text for agrees, text in checks if not agrees]
        if len(rows) != 1 or len(sessions) != 1:
            return [*found, f"{len(rows)} transactions in the portal, {len(sessions)} in the charger, instead of one"]
        row, stored = rows[0], sessions[0]
        # Nothing delivered costs nothing in this portal, whatever the session fee (docs/price-and-payment-wire.md).
        is_free = row.energy_wh == 0
        checks = [
            (row.is_settled and row.stopped_at is not None, "the portal never saw the end"),
            (is_estimated or row.energy_wh == metered_wh, f"energy: meter {metered_wh} Wh, portal {row.energy_wh} Wh"),
            (stored["energy_wh"] == row.energy_wh, f"energy: store {stored['energy_wh']} Wh, portal {row.energy_wh} Wh"),
            (stored["is_estimated"] is is_estimated, f"the stop register is_estimated={stored['is_estimated']}"),
            (stored["stopped_reason"] == row.stop_reason, f"reason: store {stored['stopped_reason']}, portal {row.stop_reason}"),
            (stored["cost"] == f"{row.charger_gross} {row.currency}", f"money: store {stored['cost']}, sent {row.charger_gross}"),
            (is_free or row.charger_gross == row.session_gross, f"money: charger {row.charger_gross}, portal {row.session_gross}"),
            (not row.mismatch, f"the portal marks a mismatch: {row.mismatch}"),
            (not row.missing_seq_nos, f"messages {row.missing_seq_nos} never came"),
            (stored["dead_letters"] == 0, "there are dead letters"),
        ]
        if payment is not None:
            checks += [
                (payment.gross == row.session_gross, f"money: captured {payment.gross}, session {row.session_gross}"),
                ((payment.state is PaymentState.VOIDED) == is_free, f"payment {payment.state} ({payment.reason})"),
            ]
        return found + [text for agrees, text in checks if not agrees]
