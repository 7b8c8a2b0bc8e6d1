"""The measurements. Each takes its turns with its reference, A B A B, so that a busy moment of the machine does not fall on one of them."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import trustme

from tests.benchmarks.backlog import MESSAGES_PER_SESSION, Stored, write_backlog
from tests.benchmarks.delay_proxy import delay_proxy
from tests.benchmarks.report import Figure, middle, percentile, times
from tests.benchmarks.rig import (
    CsmsProcess,
    Daemon,
    Footprint,
    Reference,
    Station,
    footprint,
    rss_mib,
    running_csms,
    running_world,
    start,
    until,
)

ONE_WAY_S = 0.025
NATIVE_CALL = {"1.6": ("GetConfiguration", {"key": ["HeartbeatInterval"]})}
CALL_2_0_1 = ("GetVariables", {"getVariableData": [{"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": "HeartbeatInterval"}}]})


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is measured. The small one only shows that every piece runs."""

    starts: int = 11
    calls: int = 1_000
    watch_s: float = 10.0
    sessions: int = 1_000
    backlogs: int = 3
    echoes: int = 5_000
    slow_line_s: float = 10.0
    faults: int = 2_000
    settle_s: float = 2.0
    marks_s: float = 5.5


SMALL = Size(starts=1, calls=20, watch_s=1.0, sessions=20, backlogs=1, echoes=200, slow_line_s=1.5, faults=5, settle_s=0.3, marks_s=0.0)


@dataclass(frozen=True, slots=True)
class Bench:
    """What all figures need."""

    directory: Path
    size: Size
    csms: CsmsProcess
    world: Path


@asynccontextmanager
async def bench(directory: Path, size: Size) -> AsyncIterator[Bench]:
    """The CSMS and the simulated world, each in a process of its own."""
    async with running_csms(directory) as csms, running_world(directory) as world:
        yield Bench(directory, size, csms, world)


async def boot(csms: CsmsProcess, station: Station) -> float:
    """Start a station; milliseconds from exec to BootNotification at the CSMS."""
    await csms("forget", station=station.name)
    await station.start(csms)
    booted: float = await csms("booted", station=station.name)
    return (booted - station.began) * 1000


# ------------------------------------------------------------------------------------------------------------- start and memory


async def start_up(b: Bench) -> list[Figure]:
    """Exec to BootNotification on the wire, of a store that exists, and memory a few seconds later."""
    stations: dict[str, Station] = {
        "reference": Reference(b.directory),
        "daemon": Daemon(b.directory, b.world),
        "2.0.1": Daemon(b.directory, b.world, version="2.0.1"),
        "display": Daemon(b.directory, b.world, has_display=True),
    }
    for station in stations.values():  # caches bytecode and makes the stores
        await boot(b.csms, station)
        await asyncio.sleep(b.size.settle_s / 2)
        await station.stop()
    reference = stations.pop("reference")
    found: dict[str, list[float]] = {name: [] for name in stations}
    references: dict[str, list[float]] = {name: [] for name in stations}
    memory: dict[str, list[float]] = {}
    for turn in range(b.size.starts):
        for name, station in stations.items():
            # A start of the reference right before each: a machine that grows slow meanwhile is slow for both.
            for each, times_ms, key in ((reference, references[name], "reference"), (station, found[name], name)):
                times_ms.append(await boot(b.csms, each))
                await asyncio.sleep(b.size.settle_s if turn < 2 else 0.2)
                if turn < 2:
                    memory.setdefault(key, []).append(rss_mib(each.pid))
                await each.stop()
    mib = {name: median(values) for name, values in memory.items()}
    figures = []
    for name, label in (("daemon", "1.6"), ("2.0.1", "2.0.1"), ("display", "1.6, with display")):
        ratio = median(ours / theirs for ours, theirs in zip(found[name], references[name], strict=True))
        figures.append(
            Figure(
                name=f"exec to BootNotification, {label}",
                value=middle(found[name], "ms"),
                reference=middle(references[name], "ms"),
                ratio=f"{ratio:.2f} x",
                aim="<= 1.2 x" if name == "daemon" else "",
                is_met=ratio <= 1.2 if name == "daemon" else None,
                note=(
                    "before the station says that it is there, its store is opened and checked, what was interrupted is recovered, and the "
                    "contactor's guard stands; nearly all of the time goes into imports, as with the reference; the ratio is the median of "
                    f"{b.size.starts} pairs"
                    if name == "daemon"
                    else ""
                ),
            )
        )
    for name, label, aim in (
        ("daemon", "without display", 1.3),
        ("2.0.1", "without display, 2.0.1", None),
        ("display", "with display", 1.6),
    ):
        figures.append(
            Figure(
                name=f"resident memory, idle, {label}",
                value=f"{mib[name]:.1f} MiB",
                reference=f"{mib['reference']:.1f} MiB",
                ratio=times(mib[name], mib["reference"]),
                aim="" if aim is None else f"<= {aim} x",
                is_met=None if aim is None else mib[name] <= aim * mib["reference"],
                note="Pillow, Babel's locale data and the fonts of the display are most of the difference" if name == "display" else "",
            )
        )
    return figures


async def loads(b: Bench) -> list[Figure]:
    """Memory, CPU and wake-ups, idle and while charging with a meter read each second."""
    reference = Reference(b.directory)
    await boot(b.csms, reference)
    await asyncio.sleep(b.size.settle_s)
    idle_reference = await footprint(reference.pid, b.size.watch_s / 2)
    await reference.stop()
    figures = []
    for has_display in (False, True):
        daemon = Daemon(b.directory, b.world, has_display=has_display)
        await boot(b.csms, daemon)
        await asyncio.sleep(b.size.settle_s)
        idle = await footprint(daemon.pid, b.size.watch_s)
        await daemon.plug_in(b.csms)
        await asyncio.sleep(b.size.settle_s)
        charging = await footprint(daemon.pid, b.size.watch_s)
        await daemon.unplug()
        await daemon.stop()
        label = "with display" if has_display else "without display"
        figures += [
            Figure(
                name=f"resident memory, charging, {label}",
                value=f"{charging.rss_mib:.1f} MiB",
                reference=f"{idle_reference.rss_mib:.1f} MiB",
                ratio=times(charging.rss_mib, idle_reference.rss_mib),
            ),
            Figure(
                name=f"CPU and wake-ups, charging, 1 s meter reads, {label}",
                value=_use(charging),
                reference=_use(idle_reference) + " (idle)",
            ),
            Figure(name=f"CPU and wake-ups, idle, 1 s meter reads, {label}", value=_use(idle), reference=_use(idle_reference)),
        ]
    return figures


def _use(found: Footprint) -> str:
    return f"{found.cpu_percent:.1f} %, {found.wake_ups_per_s:.0f}/s"


# ----------------------------------------------------------------------------------------------------------- calls of the CSMS


async def calls(b: Bench) -> list[Figure]:
    """Round trips of a question of the CSMS, as the CSMS sees them; and that reading never syncs."""
    reference, daemon = Reference(b.directory), Daemon(b.directory, b.world)
    modern = Daemon(b.directory, b.world, version="2.0.1")
    found: dict[str, list[float]] = {"reference": [], "1.6": [], "2.0.1": []}
    turns = 4
    async with asyncio.TaskGroup() as group:
        for station in (reference, daemon):
            group.create_task(boot(b.csms, station))
    await asyncio.sleep(b.size.settle_s)
    syncs = (await daemon.diagnose("status"))["storage"]["syncs"]
    for _ in range(turns):
        for name, station in (("reference", reference), ("1.6", daemon)):
            found[name] += await _ask(b, station, *NATIVE_CALL["1.6"])
    await asyncio.sleep(0.5)
    read_syncs = (await daemon.diagnose("status"))["storage"]["syncs"] - syncs
    await daemon.stop()
    await reference.stop()
    await boot(b.csms, modern)
    await asyncio.sleep(b.size.settle_s)
    found["2.0.1"] += await _ask(b, modern, *CALL_2_0_1)
    await modern.stop()
    ms = {name: [1000 * value for value in values] for name, values in found.items()}
    reference_p50, reference_p99 = percentile(ms["reference"], 50), percentile(ms["reference"], 99)
    figures = []
    for name, action in (("1.6", "GetConfiguration"), ("2.0.1", "GetVariables")):
        p50, p99 = percentile(ms[name], 50), percentile(ms[name], 99)
        figures += [
            Figure(
                name=f"call of the CSMS, {name} {action}, p50",
                value=f"{p50:.2f} ms",
                reference=f"{reference_p50:.2f} ms",
                ratio=times(p50, reference_p50),
                aim="<= 0.6 x" if name == "1.6" else "",
                is_met=p50 <= 0.6 * reference_p50 if name == "1.6" else None,
                note="" if name == "1.6" else "the reference speaks 1.6",
            ),
            Figure(
                name=f"call of the CSMS, {name} {action}, p99",
                value=f"{p99:.2f} ms",
                reference=f"{reference_p99:.2f} ms",
                ratio=times(p99, reference_p99),
            ),
        ]
    count = len(found["1.6"])
    figures.append(Figure(name=f"syncs for {count:,} reads", value=str(read_syncs), aim="none", is_met=read_syncs == 0))
    return figures


async def _ask(b: Bench, station: Station, action: str, payload: object) -> list[float]:
    await b.csms("calls", station=station.name, action=action, payload=payload, times=20)
    times_s: list[float] = await b.csms("calls", station=station.name, action=action, payload=payload, times=b.size.calls // 4)
    return times_s


# ------------------------------------------------------------------------------------------------------------------- the backlog


async def backlog(b: Bench) -> list[Figure]:
    """Finished offline sessions delivered as fast as the CSMS takes them, beside the bare echo; and the syncs that each message cost."""
    original = b.directory / "backlog"
    stored = await write_backlog(original, b.size.sessions)
    rates: dict[str, list[float]] = {"1.6": [], "2.0.1": [], "echo": []}
    syncs: list[int] = []
    for _ in range(b.size.backlogs):
        for version in ("1.6", "2.0.1"):
            rate, cost, characters = await _deliver(b, original, version)
            rates[version].append(rate)
            if version == "1.6":
                syncs.append(cost)
                rates["echo"].append(await _echo(b, characters))
    rate, echo = median(rates["1.6"]), median(rates["echo"])
    return [
        Figure(
            name=f"backlog of {b.size.sessions:,} sessions, 1.6",
            value=middle(rates["1.6"], "messages/s"),
            reference=middle(rates["echo"], "echoes/s"),
            ratio=times(rate, echo),
            aim=">= 570/s or 0.5 x",
            is_met=rate >= 570 or rate >= 0.5 * echo,
            note="three messages for each session; the reference is a bare exchange of texts of the same length, websockets at both ends",
        ),
        Figure(
            name=f"backlog of {b.size.sessions:,} sessions, 2.0.1",
            value=middle(rates["2.0.1"], "messages/s"),
            reference=middle(rates["echo"], "echoes/s"),
            ratio=times(median(rates["2.0.1"]), echo),
        ),
        _syncs(stored, median(syncs)),
    ]


def _syncs(stored: Stored, delivering: float) -> Figure:
    each = (stored.syncs + delivering) / stored.messages
    return Figure(
        name="syncs per stored message",
        value=f"{each:.2f}",
        aim="<= 2",
        is_met=each <= 2,
        note=(
            f"{stored.syncs / stored.messages:.2f} to store it, one commit for each, and {delivering / stored.messages:.2f} to note "
            f"its delivery; {stored.written_bytes / stored.messages / 1024:.1f} KiB handed to the file system for each"
        ),
    )


async def _deliver(b: Bench, original: Path, version: str) -> tuple[float, int, int]:
    """Messages per second, syncs, and the mean length of a message."""
    messages = b.size.sessions * MESSAGES_PER_SESSION
    daemon = _with_backlog(b, original, version)
    await boot(b.csms, daemon)
    found = await b.csms("delivered", station=daemon.name, messages=messages)
    await until(_is_empty(daemon), "the backlog is delivered", daemon.log)
    await asyncio.sleep(b.size.marks_s)  # what was marked last is written within 5 s
    storage = (await daemon.diagnose("status"))["storage"]
    await daemon.stop()
    shutil.rmtree(daemon.state)
    return (messages - 1) / (found["last_at"] - found["first_at"]), storage["syncs"], found["characters"] // messages


def _with_backlog(b: Bench, original: Path, version: str = "1.6", **changes: object) -> Daemon:
    daemon = Daemon(b.directory, b.world, version=version, **changes)  # type: ignore[arg-type]
    shutil.copytree(original, daemon.state)
    return daemon


def _is_empty(daemon: Daemon) -> Callable[[], Awaitable[bool]]:
    async def asked() -> bool:
        return bool((await daemon.diagnose("status"))["storage"]["queued"] == 0)

    return asked


async def _echo(b: Bench, characters: int) -> float:
    arguments = ("-m", "tests.benchmarks.echo_client", b.csms.url, str(characters), str(b.size.echoes))
    process = await start(*arguments, log=b.directory / "echo.log", stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    return float(said)


async def slow_line(b: Bench) -> list[Figure]:
    """The backlog over TLS and a line of 50 ms round trip, as a share of what one outstanding call can reach; and a start meanwhile."""
    original = b.directory / "slow-backlog"
    await write_backlog(original, b.size.sessions)
    authority = trustme.CA()
    roots, certificate = b.directory / "roots.pem", b.directory / "csms.pem"
    authority.cert_pem.write_to_path(roots)
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(certificate)
    async with running_csms(b.directory, certificate) as csms, delay_proxy(csms.port, ONE_WAY_S) as port:
        daemon = _with_backlog(b, original, url=f"wss://localhost:{port}/", ca_file=roots)
        await boot(csms, daemon)
        await csms("delivered", station=daemon.name, messages=3)
        before = await csms("counted", station=daemon.name)
        await asyncio.sleep(b.size.slow_line_s)
        after = await csms("counted", station=daemon.name)
        pings = await csms("pings", station=daemon.name, times=5)
        payload = {"idTag": "04A1B2C3", "connectorId": 1}
        starts = await csms("calls", station=daemon.name, action="RemoteStartTransaction", payload=payload, times=5, pause_s=0.2)
        later = await csms("counted", station=daemon.name)
        await daemon.stop()
    rate = (after["messages"] - before["messages"]) / (after["last_at"] - before["last_at"])
    round_trip = median(pings)
    still = "while the backlog drains" if later["messages"] > after["messages"] else "after the backlog"
    return [
        Figure(
            name="backlog over TLS, 50 ms round trip",
            value=f"{rate:.1f} messages/s",
            reference=f"{1 / round_trip:.1f}/s",
            ratio=f"{100 * rate * round_trip:.0f} % of 1/RTT",
            note=f"one call is outstanding at a time; the round trip was measured with WebSocket pings: {1000 * round_trip:.1f} ms",
        ),
        Figure(
            name=f"RemoteStartTransaction {still}, same line",
            value=f"{1000 * median(starts):.1f} ms",
            reference=f"{1000 * round_trip:.1f} ms",
            ratio=times(median(starts), round_trip),
        ),
    ]


# -------------------------------------------------------------------------------------------------------------------- the fault


async def faults(b: Bench) -> list[Figure]:
    """The fault path, in a process that is daemon and board at once."""
    directory = b.directory / "faults"
    directory.mkdir()
    picture = Path(f"/dev/shm/faults-{os.getpid()}.png")
    arguments = ("-m", "tests.benchmarks.fault_path", b.csms.url, str(directory), str(b.size.faults), str(picture))
    process = await start(*arguments, log=b.directory / "faults.log", stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    picture.unlink(missing_ok=True)
    if process.returncode:
        raise RuntimeError((b.directory / "faults.log").read_text(encoding="utf-8"))
    found = json.loads(said)
    ms, seconds = found["latencies_ms"], found["seconds"]
    delivered = (await b.csms("counted", station="FAULTS"))["messages"]
    p999 = percentile(ms, 99.9)
    return [
        Figure(
            name="fault to open order, p50 / p99",
            value=f"{percentile(ms, 50):.2f} / {percentile(ms, 99):.2f} ms",
            note=(
                f"{len(ms):,} faults, from the interrupt's thread to the driver's `open`; meanwhile {delivered / seconds:.0f} messages/s "
                f"of a backlog, {found['commits'] / seconds:.0f} commits/s and {found['pictures'] / seconds:.1f} pictures/s"
            ),
        ),
        Figure(
            name="fault to open order, p99.9",
            value=f"{p999:.2f} ms",
            aim="<= 5 ms",
            is_met=p999 <= 5,
            note=(
                f"the longest was {max(ms):.1f} ms; the threads of the process waited {1000 * found['waited'] / seconds:.0f} ms in each "
                "second for a CPU that another thread or program held (with `--ordinary` that is the load of the machine)"
            ),
        ),
    ]


FIGURES = (start_up, loads, calls, backlog, slow_line, faults)
"""In the order in which they are printed."""
