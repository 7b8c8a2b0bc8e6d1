"""Who looks after the chain: its head is stated, signed and sent, and retention obeys only a clock that somebody vouches for."""

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from agent.cli.signature import SignatureError, reader
from agent.domain.events import LinkState
from agent.domain.ledger import SignedHead
from agent.domain.notices import Notice, VendorNotice
from agent.domain.time import ClockTrust, Instant
from agent.runtime.device_key import DeviceKey, DeviceKeyError
from agent.runtime.keeper import FIRST_LOOK_S, SEND_LOOK_S, Keeper, KeeperSettings
from agent.store.store import FILE_NAME, Store
from tests.cli.test_main import ctl
from tests.store.build import BOOT, EPOCH, TOKEN
from tests.store.test_erasure import charge_with
from tests.store.test_ledger import charge, opened, proved
from tests.virtual_time import VirtualTimeLoop


class Portal:
    """The other end, as the keeper sees it."""

    def __init__(self) -> None:
        self.link = LinkState.ACCEPTED
        self.backlog = 0
        self.got: list[SignedHead] = []

    def state(self) -> LinkState:
        return self.link

    def is_drained(self) -> bool:
        return not self.backlog

    def send(self, notice: Notice) -> None:
        assert isinstance(notice, VendorNotice)
        assert notice.message_id == "LedgerHead"
        said = json.loads(notice.data)
        self.got.append(SignedHead(statement=said["statement"], signature=said["signature"], key_id=said["keyId"]))

    @property
    def rows(self) -> list[int]:
        return [json.loads(head.statement)["index"] for head in self.got]


def keeper(
    store: Store,
    *,
    days: int = 0,
    trust: ClockTrust = ClockTrust.NTP,
    day: int | None = 13,
    key: Path | None = None,
    portal: Portal | None = None,
    wants_head: Callable[[], bool] = lambda: True,
) -> Keeper:
    utc = None if day is None else EPOCH + timedelta(days=day)
    return Keeper(
        store,
        KeeperSettings(station_id="CP001", retention_days=days, device_key_file=key),
        now=lambda: Instant(BOOT, 0, utc),
        trust=lambda: trust,
        peer=portal or Portal(),
        wants_head=wants_head,
    )


def new_key(directory: Path, curve: ec.EllipticCurve | None = None, name: str = "device.pem") -> Path:
    key = ec.generate_private_key(curve or ec.SECP256R1())
    file = directory / name
    file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (directory / f"{name}.pub").write_bytes(public)
    file.chmod(0o600)
    return file


@asynccontextmanager
async def kept(keeps: Keeper) -> AsyncIterator[None]:
    task = asyncio.create_task(keeps.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def in_virtual_time(story: Callable[[], Any]) -> None:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(story())


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(tmp_path) as store:
        for number in range(1, 5):
            await charge_with(store, number, TOKEN, day=number)
        yield store


# --- retention


async def test_what_is_too_old_is_removed(store: Store, tmp_path: Path) -> None:
    assert await keeper(store, days=10).forget() == 2
    assert (proved(tmp_path / FILE_NAME).is_sound, proved(tmp_path / FILE_NAME).sessions) == (True, 2)


@pytest.mark.parametrize(
    ("trust", "day"), [(ClockTrust.RTC, 13), (ClockTrust.PERSISTED, 13), (ClockTrust.UNKNOWN, None), (ClockTrust.NTP, None)]
)
async def test_a_doubtful_clock_removes_nothing(store: Store, trust: ClockTrust, day: int | None) -> None:
    assert await keeper(store, days=10, trust=trust, day=day).forget() == 0


async def test_without_retention_nothing_is_removed(store: Store) -> None:
    assert await keeper(store, day=4000).forget() == 0


def test_it_is_looked_again_and_again(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path) as store:
            for number in range(1, 5):
                await charge_with(store, number, TOKEN, day=number)
            now = [EPOCH]
            keeps = Keeper(
                store,
                KeeperSettings(station_id="CP001", retention_days=10),
                now=lambda: Instant(BOOT, 0, now[0]),
                trust=lambda: ClockTrust.OCPP,
                peer=Portal(),
                wants_head=lambda: False,
            )
            left = []
            async with kept(keeps):
                for day in (0, 13, 14, 30):
                    now[0] = EPOCH + timedelta(days=day)
                    await asyncio.sleep(FIRST_LOOK_S + 86_400)
                    left.append(len(await store.sessions()))
            assert left == [4, 2, 1, 0]

    in_virtual_time(story)


# --- the head


async def test_without_a_key_the_head_is_stated_and_kept(store: Store) -> None:
    said = await keeper(store).head()
    assert said is not None
    assert (said.signature, said.key_id) == ("", "")
    statement = json.loads(said.statement)
    assert (statement["index"], statement["station"], statement["time"]) == (4, "CP001", "2026-01-14T10:00:00.000Z")
    await store.flush()
    state = await store.ledger_state()
    assert state is not None
    assert state.signed == said


async def test_an_empty_chain_has_no_head(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        assert await keeper(store).head() is None


async def test_the_device_signs_the_head_of_each_finished_session(store: Store, tmp_path: Path) -> None:
    file = new_key(tmp_path)
    is_valid = reader((tmp_path / "device.pem.pub").read_bytes())
    keeps = keeper(store, key=file)
    said = await keeps.head()
    assert said is not None
    assert is_valid(said)
    assert not is_valid(SignedHead(statement=said.statement.replace("CP001", "CP002"), signature=said.signature))
    assert not is_valid(SignedHead(statement=said.statement, signature="not base64"))
    assert len(said.key_id) == 64
    async with kept(keeps):
        await charge(store, 5)
        await until(lambda: keeps._newest is not None and '"index":5' in keeps._newest.statement)
        await store.flush()
    ran = await ctl("sessions", "verify", "--database", str(tmp_path / FILE_NAME), "--key", f"{file}.pub")
    assert ran.code == 0, ran.out
    assert "signed up to row 5" in ran.out


async def test_a_session_whose_signature_a_cut_took_is_signed_at_the_next_start(store: Store, tmp_path: Path) -> None:
    file = new_key(tmp_path)
    before = await keeper(store).head()  # stated without a key
    assert before is not None
    await store.flush()
    after = await keeper(store, key=file).head()
    assert after is not None
    assert after.signature
    assert await keeper(store, key=file).head() != after, "not kept yet: a cut may take that one as well"
    await store.flush()
    again = await keeper(store, key=file).head()
    assert again is not None
    assert again.signature


async def test_a_forged_session_is_not_signed_by_the_device(store: Store, tmp_path: Path) -> None:
    file, other = new_key(tmp_path), new_key(tmp_path, name="other.pem")
    await keeper(store, key=file).head()
    await store.flush()
    database = str(tmp_path / FILE_NAME)
    await charge(store, 77)  # whoever writes the file can do what the store does, without the key
    ran = await ctl("sessions", "verify", "--database", database, "--key", f"{file}.pub")
    assert ran.code == 1
    assert "BROKEN at row 5 (signature): no valid signature of the device covers it" in ran.out
    assert (await ctl("sessions", "verify", "--database", database)).code == 0, "without a key nobody can tell"
    await keeper(store, key=other).head()
    await store.flush()
    ran = await ctl("sessions", "verify", "--database", database, "--key", f"{file}.pub")
    assert ran.code == 1
    assert "the statement about it is not signed by this key" in ran.out


async def test_a_statement_that_does_not_fit_the_rows_is_found(store: Store, tmp_path: Path) -> None:
    file = new_key(tmp_path)
    said = await keeper(store, key=file).head()
    assert said is not None
    await store.flush()
    forged = DeviceKey(file).sign(said.statement.replace('"index":4', '"index":3'))
    store.keep_head(forged)
    await store.flush()
    ran = await ctl("sessions", "verify", "--database", str(tmp_path / FILE_NAME), "--key", f"{file}.pub")
    assert "BROKEN at row 3 (head): the device's statement names another hash for row 3" in ran.out


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "cannot be read"), (b"nonsense", "holds no unencrypted private key"), (b"", "holds no unencrypted private key")],
)
async def test_a_key_that_cannot_be_used_leaves_the_head_unsigned_and_says_so_once(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes | None, says: str
) -> None:
    file = tmp_path / "device.pem"
    if content is not None:
        file.write_bytes(content)
    keeps = keeper(store, key=file)
    for number in (5, 6):
        said = await keeps.head()
        assert said is not None
        assert not said.signature
        await charge(store, number)
    assert [says in record.getMessage() for record in caplog.records if record.name == "agent.keeper"] == [True]


def test_another_curve_is_refused(tmp_path: Path) -> None:
    file = new_key(tmp_path, ec.SECP384R1())
    with pytest.raises(DeviceKeyError, match="P-256"):
        DeviceKey(file).sign("{}")
    with pytest.raises(SignatureError, match="P-256"):
        reader((tmp_path / "device.pem.pub").read_bytes())
    with pytest.raises(SignatureError, match="openssl pkey"):
        reader(b"nonsense")


def test_the_library_is_loaded_when_it_signs_and_not_before() -> None:
    import subprocess

    code = "import sys, agent.runtime.app, agent.cli.sessions; print('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


# --- sending


def test_a_head_goes_when_everything_that_is_billed_has_gone(tmp_path: Path) -> None:
    async def story() -> None:
        portal = Portal()
        portal.backlog, portal.link = 7, LinkState.OFFLINE
        async with opened(tmp_path) as store, kept(keeper(store, portal=portal)):
            await charge(store, 1)
            await asyncio.sleep(10 * SEND_LOOK_S)
            portal.link = LinkState.ACCEPTED
            await asyncio.sleep(10 * SEND_LOOK_S)
            assert portal.rows == []
            portal.backlog = 0
            await asyncio.sleep(SEND_LOOK_S + 1)
            assert portal.rows == [1]
            await asyncio.sleep(3600)
            assert portal.rows == [1], "once"
            await charge(store, 2)
            await asyncio.sleep(SEND_LOOK_S + 1)
            assert portal.rows == [1, 2]

    in_virtual_time(story)


def test_a_csms_that_does_not_want_it_is_not_told(tmp_path: Path) -> None:
    async def story() -> None:
        portal = Portal()
        async with opened(tmp_path) as store, kept(keeper(store, portal=portal, wants_head=lambda: False)):
            await charge(store, 1)
            await asyncio.sleep(3600)
            assert portal.rows == []

    in_virtual_time(story)


async def test_it_is_sent_on_demand(store: Store) -> None:
    portal = Portal()
    keeps = keeper(store, portal=portal, wants_head=lambda: False)
    assert keeps.send() is None
    said = await keeps.head()
    assert keeps.send() == said
    assert (portal.got, keeps.is_sent) == ([said], True)
    portal.link = LinkState.OFFLINE
    assert keeps.send() is None


def test_a_signature_is_der_in_base64(tmp_path: Path) -> None:
    """So that openssl can check it: docs/ledger.md."""
    said = DeviceKey(new_key(tmp_path)).sign("{}")
    assert base64.b64decode(said.signature)[0] == 0x30
