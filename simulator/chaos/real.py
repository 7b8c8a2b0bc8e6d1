"""Runs in real time: the daemon is a process of its own, killed, stopped and cut off by the kernel; world and portal outlive it here.

What virtual time cannot show is shown here: SIGKILL in the midst of a system call, SIGSTOP, a start that is killed again, a reset that
executes the process anew. Several runs wait beside each other, each in a process of its own.
"""

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from agent.cli.__main__ import call as ask_diagnostics
from agent.domain.authorization import IdToken, IdTokenType
from agent.hal.api import EvseSetup
from simulator.chaos.books import Findings, compare
from simulator.chaos.plan import Kind, RealTrouble, SessionState, Trouble
from simulator.chaos.portal import Manners, RudePortal
from simulator.chaos.site import CARD, EXPECTED_ERRORS, PRICED_FOR, SERIAL, STATION, UID
from simulator.chaos.story import LEAPS, Outcome
from simulator.chaos.witness import EVSE, Witness, read_only
from simulator.control import Params
from simulator.demo.site import TARIFF
from simulator.faults import CATALOGUE, Scope, SimFault
from simulator.network import NetworkMode
from simulator.portal import PaymentMethod, PaymentState
from simulator.portal.errors import PortalError
from simulator.rig import Rig
from simulator.wire import Json, Refused, Wire
from simulator.world import World
from simulator.world_process import WorldProcess

S = SessionState
VISITS: Final = 4
START_S: Final = 40.0
"""How long a start of the daemon may take on a machine that does other things as well."""
LEAVE_S: Final = 20.0
QUIET_S: Final = 90.0
RUN_S: Final = 240.0
REACH_S: Final = 6.0
OPENS_WITHIN_S: Final = 2.0
"""The permission lives 0.95 s and opening takes 20 ms; the rest is for a busy machine. tests/endtoend/test_safety.py measures it alone."""
POLICIES: Final = ("stop", "resume", "resume_if_same_ev_within")
KINDS: Final[tuple[Kind, ...]] = (
    *(Trouble.CRASH,) * 4,
    *(Trouble.POWER_CUT,) * 3,
    *(RealTrouble.STOPPED,) * 2,
    RealTrouble.KILLED_AT_START,
    RealTrouble.KILLED_AT_START,
    Trouble.LEAVE,
    Trouble.NETWORK_CLOSE,
    Trouble.NETWORK_BLACKHOLE,
    Trouble.NETWORK_REFUSE,
    Trouble.PORTAL_RESTART,
    Trouble.PORTAL_SLOW,
    Trouble.PORTAL_MUTE,
    Trouble.PORTAL_DOUBLES,
    Trouble.PORTAL_ERRORS,
    Trouble.PORTAL_REFUSES,
    Trouble.CLOCK_FORWARD,
    Trouble.CLOCK_BACK,
    Trouble.CLOCK_UNKNOWN,
    Trouble.RESET_SOFT,
    Trouble.RESET_HARD,
    Trouble.UNPLUG,
    Trouble.REMOTE_STOP,
    Trouble.KNOWN_CARD,
    SimFault.METER_SILENT,
    SimFault.METER_EXCEPTION,
    SimFault.METER_JUMP,
    SimFault.METER_RESET,
    SimFault.METER_SWAP,
    SimFault.GROUND_FAULT,
    SimFault.EMERGENCY_STOP,
)
"""What strikes, one after the other; kills more often, because each comes at another instant."""
_STRIDE: Final = 11
"""Prime to their number, so that like kinds do not come in a row."""
VARIABLES: Final = {
    "OCPPCommCtrlr.RetryBackOffWaitMinimum": 1,
    "OCPPCommCtrlr.RetryBackOffRandomRange": 0,
    "OCPPCommCtrlr.RetryBackOffRepeatTimes": 0,
    "OCPPCommCtrlr.MessageTimeout[Default]": 5,
    "OCPPCommCtrlr.MessageAttempts[TransactionEvent]": 5,
    "OCPPCommCtrlr.MessageAttemptInterval[TransactionEvent]": 1,
    "OCPPCommCtrlr.WebSocketPingInterval": 3,
    "SampledDataCtrlr.TxUpdatedInterval": 2,
    "TxCtrlr.EVConnectionTimeOut": 20,
}


class NotUp(Exception):
    """The daemon does not come up."""


class RealWitness(Witness):
    """Sees a daemon that is another process: what began is read from its disk whenever it orders the contactor closed."""

    def close_ordered(self, disk: Path) -> None:
        """The order has come, the contacts have not moved: the Start has to be on disk."""
        self.closings += 1
        query = "SELECT transaction_id, queued_to FROM transactions WHERE is_open = 1 AND evse_id = ? ORDER BY ordinal"
        with closing(read_only(disk)) as db:
            rows = db.execute(query, (EVSE,)).fetchall()
        self.on_disk.update(name for name, _ in rows)
        if not rows or rows[-1][1] <= 0:
            self.violations.append(f"contactor: closed while the disk has {rows}")
        else:
            self.transaction_began(rows[-1][0])

    def true_wh(self) -> dict[str, int]:
        """A transaction for which the contactor never closed has delivered nothing."""
        return {**dict.fromkeys(self.on_disk, 0), **super().true_wh()}


class _World(WorldProcess):
    """The world, asked before it obeys an order to close."""

    def __init__(self, path: Path, rig: Rig, before_close: Callable[[], None]) -> None:
        self._before_close = before_close
        super().__init__(path, rig)

    def _close(self, params: Params, wire: Wire) -> Json:
        if not self.bay_is_closed:
            self._before_close()
        return super()._close(params, wire)

    @property
    def bay_is_closed(self) -> bool:
        """Whether the contacts are closed."""
        return self._world._bays[EVSE].is_closed  # noqa: SLF001 - looked at from outside, as a witness does


class RealSite:
    """`async with` starts portal, world and daemon."""

    def __init__(self, folder: Path, *, version: str, policy: str, seed: int) -> None:
        self._folder = folder
        self._version, self._policy = version, policy
        self.disk = folder / "disk"
        self.violations: list[str] = []
        self.manners = Manners()
        self.portal: RudePortal | None = None
        self._port = 0
        self._shift = timedelta(0)
        self.rig = Rig([EvseSetup(evse_id=EVSE, max_current_a=32, phases=3, has_lock=False)], timers=asyncio.get_running_loop(), seed=seed)
        self.witness = RealWitness(self.rig.world)
        self.wires = _World(folder / "sim.sock", self.rig, lambda: self.witness.close_ordered(self.disk))
        self.daemon: asyncio.subprocess.Process | None = None
        self._spawned: set[asyncio.Task[None]] = set()

    @property
    def world(self) -> World:
        """The simulated world."""
        return self.rig.world

    async def __aenter__(self) -> Self:
        await self.wires.start()
        self._shift = -PRICED_FOR
        portal = await self.start_portal()
        portal.provision(SERIAL, UID)
        portal.add_card(CARD)
        portal.set_group_price(TARIFF)
        await portal.add_charger(serial=SERIAL, uid=UID, country="NO", region="Viken")
        portal.set_charge_with_qr(SERIAL, enabled=True)
        self._shift = timedelta(0)
        self._write_config()
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.kill()
        for task in tuple(self._spawned):
            task.cancel()
        await asyncio.gather(*self._spawned, return_exceptions=True)
        await self.stop_portal()
        await self.wires.aclose()

    # --- the portal

    async def start_portal(self) -> RudePortal:
        """Open the portal's file and listen, where it listened before."""
        portal = RudePortal(
            self._folder / "portal.db",
            clock=lambda: datetime.now(UTC) + self._shift,
            heartbeat_interval_s=10,
            pending_interval_s=1,
            sample_interval_s=2,
            call_timeout_s=5,
            start_timeout_s=10,
            qr_template="https://pay.example/{chargingstationid}/{evse}",
        )
        portal.manners = self.manners
        await portal.start(port=self._port, web_port=None)
        self._port = portal.port
        self.portal = portal
        return portal

    async def stop_portal(self) -> None:
        """The portal goes away; its file stays."""
        portal, self.portal = self.portal, None
        if portal is not None:
            await portal.aclose()

    # --- the daemon

    def _write_config(self) -> None:
        variables = "\n".join(f'"{name}" = {value}' for name, value in VARIABLES.items())
        (self._folder / "config.toml").write_text(
            f"""[station]
id = "{STATION}"
serial_number = "{SERIAL}"
uid = "{UID}"
vendor = "Example"
model = "AC22"
country = "NO"
region = "Viken"
lab = true
[ocpp]
url = "ws://127.0.0.1:{self._port}/"
versions = ["{self._version}"]
security_profile = 0
[store]
directory = "{self.disk}"
[diagnostics]
socket = "{self._folder / "diag.sock"}"
[hal]
driver = "simulator"
[hal.options]
world = "{self._folder / "sim.sock"}"
[session]
power_loss_policy = "{self._policy}"
[[evse]]
id = 1
max_current_a = 32
phases = 3
[variables]
{variables}
""",
            encoding="utf-8",
        )

    @property
    def is_on(self) -> bool:
        """Whether there is a daemon."""
        return self.daemon is not None and self.daemon.returncode is None

    async def spawn_daemon(self) -> asyncio.subprocess.Process:
        """Start the process and wait for nothing."""
        with (self._folder / "daemon.log").open("ab") as log:
            self.daemon = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "agent", "--config", str(self._folder / "config.toml")),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self.daemon

    async def start(self) -> None:
        """Start the daemon where there is none, and wait until it answers."""
        if not self.is_on:
            await self.spawn_daemon()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_S):
                while self.is_on:
                    if await self.ask("status") is not None:
                        return
                    await asyncio.sleep(0.05)
        code = None if self.daemon is None else self.daemon.returncode
        raise NotUp(f"no answer within {START_S:g} s, exit code {code}: {self.log_tail()}")

    async def kill(self) -> None:
        """SIGKILL."""
        daemon = self.daemon
        if daemon is not None:
            with contextlib.suppress(ProcessLookupError):
                daemon.kill()
            await daemon.wait()
            self.witness.disk_seen(self.disk)

    async def leave(self) -> None:
        """SIGTERM, and wait for the end."""
        daemon = self.daemon
        if daemon is None or daemon.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            daemon.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(LEAVE_S):
                code = await daemon.wait()
        except TimeoutError:
            self.violations.append(f"leave: not within {LEAVE_S:g} s: {self.log_tail()}")
            await self.kill()
            return
        if code:
            self.violations.append(f"leave: exit code {code}: {self.log_tail()}")
        self.witness.disk_seen(self.disk)

    async def ask(self, method: str, **params: object) -> object:
        """One question on the technician's socket; None where nobody answers."""
        try:
            return await asyncio.to_thread(ask_diagnostics, str(self._folder / "diag.sock"), method, dict(params))
        except (OSError, ValueError):
            return None

    # --- looking

    @property
    def state(self) -> SessionState:
        """Where the session is, as far as that is seen from outside."""
        if not self.is_on:
            return S.OFF
        if self.wires.bay_is_closed:
            return S.CHARGING
        return S.FREE if self.world._bays[EVSE].car is None else S.PLUGGED  # noqa: SLF001

    async def opens(self, after: str) -> None:
        """Without a daemon that renews its permission the contactor opens."""
        await asyncio.sleep(OPENS_WITHIN_S)
        if self.wires.bay_is_closed:
            self.violations.append(f"contactor: closed {OPENS_WITHIN_S:g} s after {after}")

    def log_text(self) -> str:
        """Everything that the daemons logged."""
        path = self._folder / "daemon.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def log_tail(self) -> str:
        """The end of it."""
        return "\n".join(self.log_text().splitlines()[-8:])

    def judge_log(self) -> None:
        """What the daemon logs as an error is a bug or lost data; so is a traceback."""
        for line in self.log_text().splitlines():
            is_error = " ERROR " in line or line.startswith("Traceback")
            if is_error and not any(known in line for known in EXPECTED_ERRORS):
                self.violations.append(f"log: {line}")

    def spawn(self, work: Coroutine[object, object, object]) -> None:
        """Do something beside the run. The portal's refusals are part of life."""

        async def suppressed() -> None:
            with contextlib.suppress(PortalError):
                await work

        task = asyncio.get_running_loop().create_task(suppressed())
        self._spawned.add(task)
        task.add_done_callback(self._spawned.discard)


class RealStory:
    """One run of a seed."""

    def __init__(self, seed: int, folder: Path) -> None:
        self._seed, self._folder = seed, folder
        self._chance = random.Random(f"real/{seed}")
        self._version = self._chance.choice(("1.6", "2.0.1"))
        self._policy = self._chance.choice(POLICIES)
        self.kinds = [KINDS[(seed * VISITS + number) * _STRIDE % len(KINDS)] for number in range(VISITS)]
        self._hits: Counter[tuple[SessionState, Kind]] = Counter()
        self._wounds: dict[Kind, Callable[[], Awaitable[None]]] = {}
        self._trace: list[str] = []
        self._begun = time.monotonic()

    async def run(self) -> Outcome:
        """Everything, from the first start to the comparison."""
        findings = Findings()
        site = self._site = RealSite(self._folder, version=self._version, policy=self._policy, seed=self._seed)
        try:
            async with asyncio.timeout(RUN_S), site:
                for kind in self.kinds:
                    await self._visit(kind)
                if await self._quiet():
                    await site.leave()
                    site.witness.disk_seen(site.disk)
                    assert site.portal is not None
                    findings = compare(site.portal, self._folder / "portal.db", site.disk, site.witness, self._hits)
                site.judge_log()
        except Exception as error:  # noqa: BLE001 - whatever ends a run is what it found
            site.violations.append(f"run: {error!r}")
        return Outcome(
            seed=self._seed,
            version=self._version,
            visits=tuple(range(VISITS)),
            violations=(*site.violations, *site.witness.violations, *findings.violations),
            hits=self._hits,
            findings=findings,
            virtual_s=time.monotonic() - self._begun,
            trace=(f"{self._version}, power_loss_policy {self._policy}", *self._trace),
        )

    def _note(self, text: str) -> None:
        self._trace.append(f"{time.monotonic() - self._begun:9.3f} {self._site.state:<11} {text}")

    async def _visit(self, kind: Kind) -> None:
        site, chance = self._site, self._chance
        for wound in tuple(self._wounds):
            if chance.random() < 0.7:
                await self._heal(wound)
        wanted = chance.choice((S.CHARGING, S.CHARGING, S.CHARGING, S.PLUGGED, S.FREE))
        await self._reach(wanted)
        await asyncio.sleep(chance.uniform(0, 1.5) if site.state is S.CHARGING else chance.uniform(0, 0.4))
        self._note(f"strikes: {kind}")
        await self._strike(kind)
        await asyncio.sleep(chance.choice((0.0, 0.3, chance.uniform(0, 2))))
        if not site.is_on:
            await site.start()

    async def _reach(self, wanted: SessionState) -> None:
        """As people would; not reached is as well."""
        site, chance = self._site, self._chance
        until = time.monotonic() + REACH_S
        acted = None
        while time.monotonic() < until and site.state is not wanted:
            if not site.is_on:
                await site.start()
            state = site.state
            if wanted is S.FREE or (wanted is S.PLUGGED and state is S.CHARGING):
                self._unplug()
            elif state is S.FREE:
                with contextlib.suppress(Refused):
                    site.world.plug_in(EVSE, max_current_a=32, phases=3, delay_s=0.0, soc=20.0, capacity_kwh=60.0)
            elif acted is None or time.monotonic() - acted > 3:
                acted = time.monotonic()
                self._authorize()
            await asyncio.sleep(chance.uniform(0.05, 0.2))

    def _authorize(self) -> None:
        portal = self._site.portal
        if portal is not None and self._chance.random() < 0.4 and portal.refusal(STATION, 1) is None:
            self._site.spawn(portal.pay(STATION, 1, PaymentMethod.VIPPS))
        else:
            self._swipe()

    def _swipe(self) -> None:
        with contextlib.suppress(Refused):
            self._site.world.swipe(IdToken(CARD, IdTokenType.ISO14443), EVSE)

    def _unplug(self) -> None:
        with contextlib.suppress(Refused):
            self._site.world.unplug(EVSE)

    def _stop(self) -> None:
        portal = self._site.portal
        for row in () if portal is None else portal.books():
            if portal is not None and row.stopped_at is None:
                self._site.spawn(portal.remote_stop(STATION, row.wire_id))

    async def _strike(self, kind: Kind) -> None:  # noqa: C901, PLR0912 - one arm per trouble
        site, chance = self._site, self._chance
        self._hits[site.state, kind] += 1
        match kind:
            case Trouble.CRASH:
                if chance.random() < 0.6:
                    chance.choice((self._swipe, self._unplug, self._authorize, self._stop))()
                await asyncio.sleep(chance.choice((0.0, chance.uniform(0, 0.05), chance.uniform(0, 0.5))))
                await site.kill()
                await self._away()
            case Trouble.POWER_CUT:
                site.world.lose_power()
                await site.kill()
                await self._away()
            case RealTrouble.KILLED_AT_START:
                await site.kill()
                for _ in range(chance.choice((1, 2))):
                    await site.spawn_daemon()
                    await asyncio.sleep(chance.uniform(0.1, 1.2))
                    await site.kill()
            case RealTrouble.STOPPED:
                await self._stopped()
            case Trouble.LEAVE:
                await site.leave()
            case Trouble.NETWORK_CLOSE | Trouble.NETWORK_BLACKHOLE | Trouble.NETWORK_REFUSE:
                self._cut(kind)
            case Trouble.PORTAL_RESTART:
                await site.stop_portal()
                await asyncio.sleep(chance.choice((0.0, 0.5, 2.0)))
                await site.start_portal()
            case Trouble.PORTAL_SLOW:
                site.manners.delay_s = chance.choice((0.2, 1.0, 4.0))
                self._wounds[kind] = self._mend
            case Trouble.PORTAL_MUTE:
                site.manners.is_mute = True
                self._wounds[kind] = self._mend
            case Trouble.PORTAL_DOUBLES:
                site.manners.doubles = True
                self._wounds[kind] = self._mend
            case Trouble.PORTAL_ERRORS:
                site.manners.errors = chance.randrange(1, 4)
            case Trouble.PORTAL_REFUSES:
                site.manners.refusals = chance.randrange(1, 4)
            case Trouble.CLOCK_FORWARD | Trouble.CLOCK_BACK:
                sign = 1 if kind is Trouble.CLOCK_FORWARD else -1
                site.wires.set_clock(datetime.now(UTC) + sign * timedelta(seconds=chance.choice((3, 3_600, 86_400 * 30))))
                self._wounds[kind] = self._set_clock
            case Trouble.CLOCK_UNKNOWN:
                site.wires.set_clock(None)
                self._wounds[kind] = self._set_clock
            case Trouble.RESET_SOFT | Trouble.RESET_HARD:
                if site.portal is not None:
                    site.spawn(site.portal.reset(STATION, hard=kind is Trouble.RESET_HARD))
            case Trouble.UNPLUG:
                self._unplug()
            case Trouble.REMOTE_STOP:
                self._stop()
            case Trouble.KNOWN_CARD:
                self._swipe()
            case SimFault():
                self._set_fault(kind)
            case _:
                raise ValueError(kind)

    async def _away(self) -> None:
        """Restarted at once, as a service manager does, or looked at while no daemon runs."""
        if self._chance.random() < 0.4:
            await self._site.opens("the daemon was killed")
        await self._site.start()

    async def _stopped(self) -> None:
        """SIGSTOP: the permission is not renewed and the safety controller opens; SIGCONT."""
        daemon = self._site.daemon
        if daemon is None or daemon.returncode is not None:
            return
        os.kill(daemon.pid, signal.SIGSTOP)
        try:
            if self._chance.random() < 0.5:
                await asyncio.sleep(self._chance.uniform(0, 0.9))
            else:
                await self._site.opens("the daemon was stopped")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(daemon.pid, signal.SIGCONT)

    def _cut(self, kind: Kind) -> None:
        modes = {
            Trouble.NETWORK_CLOSE: NetworkMode.CLOSE,
            Trouble.NETWORK_BLACKHOLE: NetworkMode.BLACKHOLE,
            Trouble.NETWORK_REFUSE: NetworkMode.REFUSE,
        }
        self._site.wires.set_network(modes[Trouble(kind)])

        async def mend() -> None:
            self._site.wires.set_network(NetworkMode.UP)

        self._wounds[kind] = mend

    def _set_fault(self, fault: SimFault) -> None:
        world, witness = self._site.world, self._site.witness
        evse = None if CATALOGUE[fault].scope is Scope.STATION else EVSE
        before = witness.register_wh()
        world.set_fault(fault, evse)
        if fault in LEAPS:
            witness.leapt(before)

        async def clear() -> None:
            world.clear_fault(fault, evse)

        self._wounds[fault] = clear

    async def _mend(self) -> None:
        self._site.manners.mend()

    async def _set_clock(self) -> None:
        self._site.wires.set_clock(datetime.now(UTC))

    async def _heal(self, kind: Kind) -> None:
        wound = self._wounds.pop(kind, None)
        if wound is not None:
            self._note(f"healed: {kind}")
            await wound()

    # --- the end

    async def _quiet(self) -> bool:
        """Heal everything, let everybody go home, and wait until the portal has heard everything."""
        site = self._site
        for kind in tuple(self._wounds):
            await self._heal(kind)
        site.manners.mend()
        site.wires.set_network(NetworkMode.UP)
        await self._set_clock()
        self._note("quiet")
        until = time.monotonic() + QUIET_S
        waits = ["not looked at"]
        while time.monotonic() < until:
            await site.start()
            self._unplug()
            waits = self._why_not()
            if not waits:
                return True
            if any("dead" in text for text in waits):
                await site.ask("deadletters.resend")
            await asyncio.sleep(0.2)
        site.violations.append(f"quiet: not within {QUIET_S:g} s: {waits}; {site.log_tail()}")
        return False

    def _why_not(self) -> list[str]:
        site, portal = self._site, self._site.portal
        if portal is None:
            return ["no portal"]
        try:
            with closing(read_only(site.disk)) as db:
                is_open = db.execute("SELECT count(*) FROM transactions WHERE is_open = 1").fetchone()[0]
                undelivered = db.execute("SELECT count(*) FROM transactions WHERE is_delivered = 0").fetchone()[0]
                dead = [
                    name
                    for (name,) in db.execute("SELECT transaction_id FROM outbox JOIN transactions USING (ordinal) WHERE state != 'queued'")
                ]
        except sqlite3.Error as error:
            return [f"the disk: {error}"]
        site.witness.resent.update(dead)
        waiting = [payment.key for payment in portal.payments() if payment.state in {PaymentState.AUTHORIZED, PaymentState.CHARGING}]
        checks = (
            (site.state is S.FREE, f"the session is {site.state}"),
            (portal.is_online(SERIAL), "the portal does not see the charger"),
            (not is_open, f"{is_open} transactions are open"),
            (not undelivered, f"{undelivered} transactions are not delivered"),
            (not dead, f"dead letters of {dead}"),
            (not waiting, f"payments {waiting} are not settled"),
        )
        return [text for is_so, text in checks if not is_so]


def run_real(seed: int) -> Outcome:
    """Run one seed in a directory of its own, in real time."""
    memory = Path("/dev/shm")  # noqa: S108 - a directory is made there
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="chaos-", dir=memory if memory.is_dir() else None) as folder:
        outcome = asyncio.run(RealStory(seed, Path(folder)).run())
    outcome.real_s = time.perf_counter() - begun
    return outcome
