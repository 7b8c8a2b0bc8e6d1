"""One run: people and trouble bring the charger through its plan, then everything is put in order and the books are compared."""

import asyncio
import contextlib
import random
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final, assert_never

from agent.domain.authorization import IdToken, IdTokenType
from agent.domain.errors import StoreError
from agent.store.tables import StoredMessage
from simulator.chaos.books import UNDATABLE, Findings, compare
from simulator.chaos.inline_sqlite import without_threads
from simulator.chaos.plan import Kind, Plan, SessionState, Trouble, Visit, plan
from simulator.chaos.site import CARD, SERIAL, STATION, ChaosSite, Standstill
from simulator.chaos.witness import EVSE, Witness
from simulator.faults import CATALOGUE, Scope, SimFault
from simulator.network import NetworkMode
from simulator.portal import PaymentMethod, PaymentState
from simulator.virtual_time import VirtualTimeLoop
from simulator.wire import Refused
from simulator.world import World

S = SessionState
REACH_S: Final = 60.0
_STEP_S: Final = 4.0
"""How long the next state is waited for before the next thing is done."""
_PENDING_S: Final = 1.9
_READ_AGAIN_S: Final = 5.0
_APART: Final = 0.2
"""How often the second trouble comes some time after the first."""
_BRIEF: Final = frozenset((S.STARTING, S.STOPPING, S.RECOVERING, S.CONNECTING))
"""States that are over before."""
_LONG: Final = 0.08
"""How often trouble is left alone for minutes: so long that cards expire, meters are seen to lie, and messages are given up."""
QUIET_S: Final = 900.0
LEAPS: Final = frozenset((SimFault.METER_RESET, SimFault.METER_JUMP, SimFault.METER_SWAP))
_UNKNOWN_CARD: Final = "DEADBEEF"
_WAITS: Final = {
    S.OFF: 0.5,
    S.FREE: 5.0,
    S.AUTHORIZED: 10.0,
    S.PLUGGED: 5.0,
    S.STARTING: 0.25,
    S.CONNECTING: 3.0,
    S.CHARGING: 25.0,
    S.SUSPENDED: 10.0,
    S.STOPPING: 1.0,
    S.RECOVERING: 1.0,
    S.FINISHED: 5.0,
}
"""How long at most trouble waits in a state before it strikes: some states are over quickly."""


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What a run gave. `hits`: trouble in the state that it really met."""

    seed: int
    version: str
    visits: tuple[int, ...]
    violations: tuple[str, ...]
    hits: Counter[tuple[SessionState, Kind]] = field(default_factory=Counter)
    findings: Findings = field(default_factory=Findings)
    virtual_s: float = 0.0
    real_s: float = 0.0
    trace: tuple[str, ...] = ()


def run_once(seed: int, only: tuple[int, ...] | None = None) -> Outcome:
    """Run one seed in a directory of its own, on a loop with virtual time."""
    what = plan(seed, only)
    memory = Path("/dev/shm")  # noqa: S108 - a directory is made there; fdatasync costs nothing on it
    begun = time.perf_counter()
    with (
        without_threads(),
        tempfile.TemporaryDirectory(prefix="chaos-", dir=memory if memory.is_dir() else None) as folder,
        asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(grace_s=0)) as runner,
    ):
        story = Story(what, Path(folder))
        try:
            outcome = runner.run(story.run())
        except Standstill as error:
            outcome = story.given_up(error)
    outcome.real_s = time.perf_counter() - begun
    return outcome


class Story:
    """One run of a plan."""

    def __init__(self, what: Plan, folder: Path) -> None:
        self._plan = what
        self._folder = folder
        self._hits: Counter[tuple[SessionState, Kind]] = Counter()
        self._trace: list[str] = []
        self._cards = 0
        self._wounds: dict[Kind, Callable[[], Awaitable[None]]] = {}
        self._chance = random.Random(f"story/{what.seed}")

    async def run(self) -> Outcome:
        """Everything, from the first boot to the comparison."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        findings = Findings()
        site = self._site = ChaosSite(self._folder, self._plan)
        try:
            async with site:
                await site.comes_to(S.FREE, REACH_S)
                await asyncio.sleep(self._chance.uniform(1, 8))
                for visit in self._plan.visits:
                    self._chance = random.Random(visit.seed)
                    await self._visit(visit)
                self._chance = random.Random(f"end/{self._plan.seed}")
                if await self._quiet():
                    await site.leave()
                    assert site.portal is not None
                    findings = compare(site.portal, self._folder / "portal.db", site.disk, site.witness, self._hits)
        except Exception as error:  # noqa: BLE001 - whatever ends a run is what it found
            site.violate(f"run: {error!r}")
        return Outcome(
            seed=self._plan.seed,
            version=self._plan.version,
            visits=tuple(visit.number for visit in self._plan.visits),
            violations=(*site.violations, *site.witness.violations, *findings.violations),
            hits=self._hits,
            findings=findings,
            virtual_s=loop.time() - begun,
            trace=(f"{self._plan.version}, power_loss_policy {self._plan.power_loss_policy}", *self._trace),
        )

    def given_up(self, error: Standstill) -> Outcome:
        """What a run gave that does not come to an end."""
        return Outcome(
            seed=self._plan.seed,
            version=self._plan.version,
            visits=tuple(visit.number for visit in self._plan.visits),
            violations=(*self._site.violations, *self._site.witness.violations, f"run: {error}"),
            hits=self._hits,
            trace=tuple(self._trace),
        )

    def _note(self, text: str) -> None:
        self._trace.append(f"{asyncio.get_running_loop().time() - 1000:9.3f} {self._site.state:<11} {text}")

    # --- visits

    async def _visit(self, visit: Visit) -> None:
        site, chance = self._site, self._chance
        for kind in [kind for kind in self._wounds if not isinstance(kind, Trouble) or chance.random() < 0.5]:
            await self._heal(kind)
        self._note(f"visit {visit.number}: {visit.first} and {visit.kind} while {visit.state}")
        reached = await self._reach(visit.state)
        if not reached:
            self._note("not reached")
        await asyncio.sleep(chance.random() ** 3 * _WAITS[visit.state])
        await self._strike(visit.first)
        if visit.state not in _BRIEF and chance.random() < _APART:
            await asyncio.sleep(chance.uniform(0, 2))
        await self._strike(visit.kind)
        if chance.random() < _LONG:
            await asyncio.sleep(chance.uniform(0, 120))
        else:
            await asyncio.sleep(chance.choice((0.0, 0.2, chance.uniform(0, 4), chance.uniform(0, 12))))
        if chance.random() < 0.3:
            self._people(chance.choice((self._swipe, self._stop, self._unplug, self._pause, self._plug)))
            await asyncio.sleep(chance.uniform(0, 5))
        if chance.random() < 0.6:  # life goes on, whatever is broken
            await self._reach(chance.choice((S.CHARGING, S.FINISHED, S.FREE)), 10.0)
            await asyncio.sleep(chance.uniform(0, 8))
        if not site.is_on:
            site.start()
        for kind in (visit.first, visit.kind):
            if chance.random() < 0.7:
                await self._heal(kind)

    async def _reach(self, wanted: SessionState, within_s: float = REACH_S) -> bool:
        """Bring the session to a state as people would. Where trouble of before stands in the way it is healed after a while."""
        loop = asyncio.get_running_loop()
        until = loop.time() + within_s
        tries = 0
        while loop.time() < until:
            if self._site.state is wanted:
                return True
            tries += 1
            if tries == 3 and within_s >= REACH_S:
                await self._heal_all()
            watching = asyncio.create_task(self._site.comes_to(wanted, _STEP_S))
            await asyncio.sleep(0)
            await self._step(wanted)
            changing = asyncio.create_task(self._site.changes(_STEP_S))
            try:
                await asyncio.wait((watching, changing), return_when=asyncio.FIRST_COMPLETED)
                if watching.done() and watching.result():
                    return True
            finally:
                for task in (watching, changing):
                    task.cancel()
                await asyncio.gather(watching, changing, return_exceptions=True)
        return False

    async def _step(self, wanted: SessionState) -> None:  # noqa: C901 - a table of states, read as one
        """The next thing to do on the way from the present state to the one that is wanted."""
        here = self._site.state
        if wanted is S.OFF:
            await self._go_off()
            return
        if here is S.OFF:
            self._site.start()
            return
        match here:
            case S.FREE if wanted is S.AUTHORIZED:
                self._swipe()
            case S.FREE if wanted is not S.FREE:
                self._plug(delay_s=9.0 if wanted is S.CONNECTING else self._chance.choice((0.0, 0.5, 2.0)))
            case S.AUTHORIZED if wanted in {S.FREE, S.PLUGGED}:
                self._swipe()
            case S.AUTHORIZED:
                self._plug(delay_s=9.0 if wanted is S.CONNECTING else 0.0)
            case S.PLUGGED | S.FINISHED if wanted in {S.FREE, S.AUTHORIZED} or (here is S.FINISHED and wanted is S.PLUGGED):
                self._unplug()
            case S.PLUGGED | S.FINISHED if wanted is S.CONNECTING and here is S.FINISHED:
                self._unplug()
            case S.PLUGGED | S.FINISHED:
                if wanted is S.STARTING:
                    self._swipe(self._let_answers_wait())
                else:
                    await self._authorize()
            case S.CONNECTING if wanted not in {S.CHARGING, S.SUSPENDED, S.RECOVERING}:
                await self._end_session()
            case S.CHARGING if wanted is S.SUSPENDED:
                self._pause()
            case S.CHARGING | S.SUSPENDED | S.CONNECTING if wanted is S.RECOVERING:
                if here is not S.CHARGING or self._chance.random() < 0.5:
                    self._let_meter_be_silent()
                self._site.kill()
                await asyncio.sleep(self._chance.choice((0.01, 0.1, 0.3)))
                self._site.start()
            case S.SUSPENDED if wanted is S.CHARGING:
                self._resume()
            case S.CHARGING | S.SUSPENDED if wanted is not S.CHARGING:
                await self._end_session()
            case _:
                pass  # it moves on by itself

    async def _go_off(self) -> None:
        if self._chance.random() < 0.5:
            self._site.kill()
        else:
            await self._site.leave()

    # --- people

    def _people(self, act: Callable[[], object]) -> None:
        self._note(f"people: {act.__name__.strip('_')}")
        act()

    def _plug(self, delay_s: float = 0.0) -> None:
        amps, soc = self._chance.choice((6, 16, 32)), self._chance.choice((10.0, 60.0, 99.9))
        with contextlib.suppress(Refused):
            self._site.rig.world.plug_in(
                EVSE, max_current_a=amps, phases=self._chance.choice((1, 3)), delay_s=delay_s, soc=soc, capacity_kwh=60.0
            )

    def _unplug(self) -> None:
        """Pull the plug; where the bolt holds it, the vehicle's end."""
        with contextlib.suppress(Refused):
            try:
                self._site.rig.world.unplug(EVSE)
            except Refused:
                self._site.rig.world.unplug(EVSE, at_vehicle=True)

    def _swipe(self, card: str = CARD) -> None:
        with contextlib.suppress(Refused):
            self._site.rig.world.swipe(IdToken(card, IdTokenType.ISO14443), self._chance.choice((None, EVSE)))

    def _pause(self) -> None:
        with contextlib.suppress(Refused):
            self._site.rig.world.pause(EVSE)

    def _resume(self) -> None:
        with contextlib.suppress(Refused):
            self._site.rig.world.resume(EVSE)

    async def _authorize(self) -> None:
        """By QR code where the portal sells, else by card."""
        portal = self._site.portal
        if portal is not None and self._chance.random() < 0.6 and portal.refusal(STATION, 1) is None:
            await portal.pay(STATION, 1, PaymentMethod.VIPPS)
        elif portal is not None and self._chance.random() < 0.2:
            self._site.spawn(portal.remote_start(STATION, 1, CARD, self._chance.randrange(1, 2**31)))
        else:
            self._swipe()

    async def _end_session(self) -> None:
        chosen = self._chance.random()
        if chosen < 0.4:
            self._stop()
        elif chosen < 0.8:
            self._swipe()
        else:
            self._unplug()

    def _stop(self) -> None:
        """From afar: the driver's page, or the operator."""
        portal = self._site.portal
        if portal is None:
            return
        for payment in portal.payments():
            if payment.state is PaymentState.CHARGING:
                self._site.spawn(portal.stop_payment(payment.key))
                return
        for row in portal.books():
            if row.stopped_at is None:
                self._site.spawn(portal.remote_stop(STATION, row.wire_id))

    def _let_answers_wait(self) -> str:
        """A card that has never been here, and a portal that takes its time: the charger has to wait. Gives the card."""
        manners = self._site.manners
        if not manners.delay_s:
            manners.delay_s = _PENDING_S
            asyncio.get_running_loop().call_later(2 * _PENDING_S, self._answers_come)
        self._cards += 1
        return f"04FE{self._cards:06X}"

    def _answers_come(self) -> None:
        if self._site.manners.delay_s == _PENDING_S:
            self._site.manners.delay_s = 0.0

    def _let_meter_be_silent(self) -> None:
        """So that what recovers has to wait for its register."""
        if SimFault.METER_SILENT not in self._wounds:
            self._set_fault(SimFault.METER_SILENT)
            asyncio.get_running_loop().call_later(10.0, self._meter_speaks)

    def _meter_speaks(self) -> None:
        if self._wounds.pop(SimFault.METER_SILENT, None) is not None:
            self._site.rig.world.clear_fault(SimFault.METER_SILENT, EVSE)

    # --- trouble

    async def _strike(self, kind: Kind) -> None:
        self._note(f"strikes: {kind}")
        if isinstance(kind, SimFault):
            self._count(kind)
            self._set_fault(kind)
            return
        if kind not in _COUNT_THEMSELVES:
            self._count(kind)
        await self._trouble(Trouble(kind))

    def _count(self, kind: Kind) -> None:
        self._hits[self._site.state, kind] += 1

    def _set_fault(self, fault: SimFault) -> None:
        world, witness = self._site.rig.world, self._site.witness
        evse = None if CATALOGUE[fault].scope is Scope.STATION else EVSE
        before = witness.register_wh()
        world.set_fault(fault, evse)
        if fault in LEAPS:
            witness.leapt(before)
        witness.is_frozen = witness.is_frozen or fault is SimFault.METER_FROZEN

        async def clear() -> None:
            world.clear_fault(fault, evse)
            if fault is SimFault.METER_FROZEN:  # what it said last is good until the next read-out
                asyncio.get_running_loop().call_later(_READ_AGAIN_S, _thawed, world, witness)

        self._wounds[fault] = clear

    async def _trouble(self, kind: Trouble) -> None:  # noqa: C901, PLR0912 - one arm per trouble
        site, chance = self._site, self._chance
        match kind:
            case Trouble.NETWORK_CLOSE:
                self._cut(kind, NetworkMode.CLOSE)
            case Trouble.NETWORK_BLACKHOLE:
                self._cut(kind, NetworkMode.BLACKHOLE)
            case Trouble.NETWORK_REFUSE:
                self._cut(kind, NetworkMode.REFUSE)
            case Trouble.PORTAL_RESTART:
                await site.stop_portal()
                await asyncio.sleep(chance.choice((0.0, 3.0, 30.0)))
                await site.start_portal()
            case Trouble.PORTAL_SLOW:
                site.manners.delay_s = chance.choice((0.5, 4.0, 12.0))
                self._wounds[kind] = self._mend
            case Trouble.PORTAL_MUTE:
                site.manners.is_mute = True
                self._wounds[kind] = self._mend
            case Trouble.PORTAL_DOUBLES:
                site.manners.doubles = True
                self._wounds[kind] = self._mend
            case Trouble.PORTAL_ERRORS:
                site.manners.errors = chance.randrange(1, 7)
                self._wounds[kind] = self._mend
            case Trouble.PORTAL_REFUSES:
                site.manners.refusals = chance.randrange(1, 7)
                self._wounds[kind] = self._mend
            case Trouble.DISK_SLOW:
                site.disk_state.delay_s = chance.choice((0.05, 0.5, 3.0))
                self._wounds[kind] = self._mend_disk
            case Trouble.DISK_FAILS:
                site.disk_state.is_failing = True
                self._wounds[kind] = self._mend_disk
            case Trouble.CLOCK_FORWARD:
                site.world.set_clock(site.true_utc() + timedelta(seconds=chance.choice((3, 3_600, 86_400 * 30))))
                self._wounds[kind] = self._set_clock
            case Trouble.CLOCK_BACK:
                site.world.set_clock(site.true_utc() - timedelta(seconds=chance.choice((3, 3_600, 86_400 * 30))))
                self._wounds[kind] = self._set_clock
            case Trouble.CLOCK_UNKNOWN:
                site.world.set_clock(None)
                self._wounds[kind] = self._set_clock
            case Trouble.LEAVE | Trouble.LEAVE_REBOOT:
                await site.leave()
                await self._away(is_reboot=kind is Trouble.LEAVE_REBOOT)
            case Trouble.CRASH | Trouble.CRASH_REBOOT | Trouble.POWER_CUT:
                await self._crash(kind)
            case Trouble.RESET_SOFT | Trouble.RESET_HARD:
                if site.portal is not None:
                    site.spawn(site.portal.reset(STATION, hard=kind is Trouble.RESET_HARD))
            case Trouble.UNPLUG:
                self._unplug()
            case Trouble.REMOTE_STOP:
                self._stop()
            case Trouble.KNOWN_CARD:
                self._swipe()
            case Trouble.UNKNOWN_CARD:
                self._swipe(_UNKNOWN_CARD)
            case _:
                assert_never(kind)

    def _cut(self, kind: Trouble, mode: NetworkMode) -> None:
        self._site.set_network(mode)

        async def mend() -> None:
            self._site.set_network(NetworkMode.UP)

        self._wounds[kind] = mend

    async def _mend(self) -> None:
        self._site.manners.mend()

    async def _mend_disk(self) -> None:
        self._site.disk_state.mend()

    async def _set_clock(self) -> None:
        self._site.world.set_clock(self._site.true_utc())

    async def _crash(self, kind: Trouble) -> None:
        """At some instant: often in the midst of what somebody has just done, where there is most to be lost."""
        site, chance = self._site, self._chance
        most_rounds = 8
        if chance.random() < 0.35:
            await self._step(chance.choice((S.CHARGING, S.FINISHED, S.FREE)))
            most_rounds = 1000
        gone = asyncio.Event()

        def blow() -> None:
            self._count(kind)
            self._note(f"killed: {kind}")
            if kind is Trouble.POWER_CUT:
                site.rig.world.lose_power()
            site.kill()
            gone.set()

        site.blow_in(int(most_rounds ** chance.random()), blow)
        await gone.wait()
        await self._away(is_reboot=kind is not Trouble.CRASH)

    async def _away(self, *, is_reboot: bool) -> None:
        await asyncio.sleep(self._chance.choice((0.0, 0.1, 0.6, 2.0, 12.0)))
        if is_reboot:
            self._site.reboot()
        self._site.start()

    async def _heal(self, kind: Kind) -> None:
        wound = self._wounds.pop(kind, None)
        if wound is not None:
            self._note(f"healed: {kind}")
            await wound()

    async def _heal_all(self) -> None:
        for kind in tuple(self._wounds):
            await self._heal(kind)

    # --- the end

    async def _quiet(self) -> bool:
        """Heal everything, let everybody go home, and wait until the portal has heard everything."""
        site = self._site
        await self._heal_all()
        site.set_network(NetworkMode.UP)
        await self._set_clock()
        self._note("quiet")
        loop = asyncio.get_running_loop()
        until = loop.time() + QUIET_S
        has_restarted = False
        while loop.time() < until:
            if not site.is_on:
                site.start()
            self._unplug()
            await site.comes_to(S.FREE, 30.0)
            await self._resend()
            if await self._is_quiet():
                return True
            if loop.time() > until - QUIET_S / 2 and not has_restarted:
                has_restarted = True  # what only a technician or a restart clears
                await site.leave()
                site.start()
            await asyncio.sleep(5.0)
        site.violate(f"quiet: not within {QUIET_S:g} s: {await self._why_not()}")
        return False

    async def _resend(self) -> None:
        """The technician sends dead letters again, but those whose time cannot become known."""
        app = self._site.app
        if app is None or self._site.state is S.OFF or app.store.queue_depth:
            return
        for letter in await self._curable():
            self._note(f"dead letter {letter.row_id} is sent again")
            self._site.witness.resent.add(letter.transaction_id)
            with contextlib.suppress(StoreError):  # something of its transaction waits again
                await app.store.resend_dead(letter.row_id)
            app.client.outbox_grew()
            return

    async def _curable(self) -> list[StoredMessage]:
        app = self._site.app
        letters = () if app is None else await app.store.dead_letters()
        by_hand = {letter.transaction_id for letter in letters if UNDATABLE in letter.error}
        return [letter for letter in letters if letter.transaction_id not in by_hand]

    async def _is_quiet(self) -> bool:
        return not await self._why_not()

    async def _why_not(self) -> list[str]:
        app, portal = self._site.app, self._site.portal
        if app is None or portal is None or self._site.state is S.OFF:
            return ["no daemon"]
        status = await app.store.status()
        waiting = [payment.key for payment in portal.payments() if payment.state in {PaymentState.AUTHORIZED, PaymentState.CHARGING}]
        checks = (
            (self._site.state is S.FREE, f"the session is {self._site.state}"),
            (portal.is_online(SERIAL), "the portal does not see the charger"),
            (app.engine._idle.is_set(), "something is not on disk yet"),  # noqa: SLF001 - a disk that was healed this moment
            (not app.store.queue_depth, f"{app.store.queue_depth} messages wait"),
            (not await self._curable(), f"{status.dead} dead letters, {status.held} held"),
            (not status.open_transactions, f"{status.open_transactions} transactions are open"),
            (not waiting, f"payments {waiting} are not settled"),
        )
        return [text for is_so, text in checks if not is_so]


def _thawed(world: World, witness: Witness) -> None:
    if SimFault.METER_FROZEN not in world._bays[EVSE].faults:  # noqa: SLF001 - it may have been set again
        witness.is_frozen = False


_COUNT_THEMSELVES: Final = frozenset((Trouble.CRASH, Trouble.CRASH_REBOOT, Trouble.POWER_CUT))
"""Their moment comes later than their beginning."""
