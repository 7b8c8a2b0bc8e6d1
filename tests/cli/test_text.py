"""What a person reads: everything that matters is on the screen, and nothing that could drive the terminal."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from agent.cli.text import render
from agent.diagnostics.results import RESULTS
from tests.cli import examples as ex


@pytest.mark.parametrize(("method", "answer"), ex.EXAMPLES)
def test_the_examples_are_what_the_daemon_answers(method: str, answer: Any) -> None:
    Draft202012Validator(RESULTS[method]).validate(answer)


def lines(method: str, answer: Any) -> list[str]:
    text = render(method, answer)
    assert text.endswith("\n")
    return text.splitlines()


def test_status() -> None:
    assert lines("status", ex.STATUS) == [
        "station   CP001, charger-agent 0.1.0, up 2 h, 40.0 MiB",
        "clock     2026-03-01T12:00:00.000Z, from ocpp, synchronized 12 s ago, portal +0.3 s",
        "portal    accepted for 2 h over ocpp2.0.1, wss://csms.example/CP001",
        "          INSECURE: everybody on the way can read, change and forge every message (security_profile 0)",
        "          ALARM: the root certificate Example Root expires in 4 days, on 2026-03-05",
        "          cure: put the CSMS's new root into ocpp.ca_file beside the old one, or update the system's roots",
        "storage   good, 1 message waits, 0 dead letters, /var/lib/charger-agent/charger-agent.db",
        "EVSE 1    charging, pilot C, offers 32 A, contactor closed",
        f"          Charging, 1250 Wh, 6900 W, 652 s, 16.06 NOK, transaction {ex.ID}",
        "EVSE 2    faulted, pilot -, offers 0 A, contactor open, plug unlocked, faults: GroundFault",
        "          no energy flows: hardware (chargerctl why 2)",
    ]


def test_status_in_trouble() -> None:
    assert lines("status", ex.STATUS_IN_TROUBLE)[:12] == [
        "station   CP001, charger-agent 0.1.0, up 2 h",
        "clock     not before 2026-02-28T07:00:00.000Z, from persisted",
        "          ALARM: nobody has said what time it is for 30 h",
        "          cure: see why neither NTP nor the CSMS is reached",
        "portal    offline for 90 s, wss://csms.example/CP001",
        "          next attempt to connect in 8 s",
        "          last error: csms.example:443 refused the connection",
        "          cure: check the network and ocpp.url; the CSMS may be down",
        "          TLS: nobody has said what time it is; the certificates are judged again when somebody does",
        "storage   FAILED: the disk is full",
        "          3 messages wait (75 % of the room), - dead letters",
        "FAULT     EmergencyStop: the button is pressed, for 61 s",
    ]


def test_connections_that_were_lost_are_counted() -> None:
    csms = {**ex.STATUS["csms"], "flaps": 3}
    assert "          lost 3 times since the start" in lines("status", {**ex.STATUS, "csms": csms})


def test_why_names_the_one_condition_and_its_cure_then_the_chain() -> None:
    assert lines("why", ex.WHY) == [
        "EVSE 1 does not charge: no vehicle is connected",
        "  cure: plug in",
        "  ok  agent          running",
        "  NO  vehicle        no vehicle is connected",
        "  --  authorization  nobody is authorized",
        "EVSE 2 does not charge: fault GroundFault: protective earth is missing, for 2 min",
        "  cure: look at the hardware",
        "  ok  agent          running",
        "  NO  hardware       fault GroundFault: protective earth is missing",
        "EVSE 3: energy may flow",
        "  ok  agent          running",
    ]


def test_meter() -> None:
    assert lines("meter", ex.METER) == [
        "EVSE 1: eastron-sdm630 at serial:///dev/ttyUSB0 device 1, serial number 24115071",
        "  answers: 120 readings, 0 suspect, 1 reads failed",
        "  register 1234560.00 Wh in steps of 1 Wh, read 340 ms ago",
        "  Voltage                          L1-N  230.1 V",
        "  Frequency                        -     50 Hz",
        "  ok  voltage   230.1, 230.2, 229.9 V",
        "  NO  power     11 W, voltage times current 11040 VA: wrong unit",
        "  --  energy    needs a load",
        "EVSE 2: carlo-gavazzi-em340 at serial:///dev/ttyUSB0 device 2, serial number -",
        "  LOST for 5 min: 0 readings, 0 suspect, 14 reads failed",
        "  problem: no answer within 1 s",
        "EVSE 3: no meter is configured: add [evse.meter]",
        "bus serial:///dev/ttyUSB0: CLOSED, 150 requests, 120 answers, 30 time-outs, 0 exceptions, 2 bad frames, 1 reconnects",
        "  device 2: 30 requests, 0 answers, 30 time-outs, 0 exceptions, 14 failures in a row, left alone for 12.5 s",
    ]


def test_an_old_reading_looks_old() -> None:
    meter = {**ex.METER["meters"][0], "reading": {**ex.METER["meters"][0]["reading"], "age_ms": 150_000, "quality": "suspect"}}
    shown = lines("meter", {"meters": [meter], "buses": []})[2]
    assert shown == "  register 1234560.00 Wh in steps of 1 Wh, read 2 min ago, suspect"


def test_sessions() -> None:
    assert lines("sessions", ex.SESSIONS) == [
        "started                         Wh  cost           ended by         delivered  transaction",
        f"2026-03-01T12:00:00.000Z      7500  38.75 NOK      PowerLoss        1 dead     {ex.ID}, estimated",
        "  meter 24115071: 1000 to 8500 Wh, billed, until swap",
        "  meter 77: 40 to 43.5 Wh, not billed, until the end",
        f"the stored record cannot be read: the file was damaged: {ex.ID}",
    ]


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"is_delivered": True, "waiting_messages": 0, "dead_letters": 0}, "yes"),
        ({"is_delivered": False, "waiting_messages": 2, "dead_letters": 0}, "2 wait"),
        ({"is_delivered": False, "waiting_messages": 0, "dead_letters": 0, "is_running": True}, "-"),
        ({"is_delivered": True, "waiting_messages": 0, "dead_letters": 3}, "3 dead"),
    ],
)
def test_a_session_tells_whether_the_portal_has_it(changes: dict[str, object], shown: str) -> None:
    (line,) = lines("sessions", [{**ex.SESSIONS[0], "segments": [], **changes}])[1:]
    assert line[68:78].strip() == shown


def test_queue() -> None:
    assert lines("queue", ex.QUEUE) == [
        "portal offline, 1 message waits, outstanding: -",
        f"      12 Ended    seqNo 3    -                         for 60 min, 0 refused, sent, transaction {ex.ID}",
        "1 dead letter; to send one again: chargerctl deadletters resend ROW",
        f"       9 Started  seqNo 0    2026-03-01T12:00:00.000Z  refused 5 times, transaction {ex.ID}: InternalError: no such card",
    ]


def test_dead_letters() -> None:
    assert lines("deadletters", ex.LETTERS) == [
        "1 dead letter; when the cause is cured: chargerctl deadletters resend ROW",
        f"       9 Started  seqNo 0    2026-03-01T12:00:00.000Z  refused 5 times, transaction {ex.ID}: InternalError: no such card",
    ]
    assert lines("deadletters", {"letters": [], "next": None}) == [
        "no dead letters: the portal has taken every message, or they still wait (chargerctl queue)"
    ]
    assert lines("deadletters.resend", {"resent": 1, "left": 0, "depth": 4}) == ["1 back in the queue; 4 messages wait"]
    assert lines("deadletters.resend", {"resent": 3, "left": 2, "depth": 1}) == [
        "3 back in the queue; 1 message waits",
        "2 stay: other messages of their sessions still wait; send them again when those are through",
    ]


def test_one_dead_letter_with_its_session() -> None:
    shown = lines("deadletters.show", ex.LETTER)
    assert shown[0] == "9: Started Authorized, seqNo 0, 2026-03-01T12:00:00.000Z"
    assert "  set aside  5 refusals: InternalError: no such card" in shown
    assert "  value      2026-03-01T12:00:00.000Z Transaction.Begin Energy.Active.Import.Register 1000 Wh" in shown
    assert "  who        EVSE 1, card …D4E5" in shown
    assert shown[-2:] == [
        "not delivered either:",
        f"  held        10 Ended    seqNo 1    2026-03-01T12:00:00.000Z  refused 5 times, transaction {ex.ID}: -",
    ]
    broken = {
        **ex.LETTER,
        "session": {"transaction_id": ex.ID, "remote_id": 7, "evse": 1, "problem": "damaged", "id_token": None, "seconds": None},
    }
    assert "  damaged" in lines("deadletters.show", broken)


def test_the_way_to_the_portal() -> None:
    assert lines("ocpp.test", ex.WAY) == [
        "the way to wss://csms.example/CP001",
        "  ok  settings      password and root certificates were read",
        "  ok  name          the name was resolved",
        "  ok  tcp           connected",
        "  NO  tls           TLS with csms.example:443 failed: certificate has expired",
        "      cure: the server's certificate has expired: the CSMS operator must renew it (or the station's clock is wrong)",
        "  --  http",
    ]


def test_events() -> None:
    assert lines("events", ex.EVENTS) == [
        "3 min ago                   started 0 transaction(s) were open",
        "2026-03-01T12:00:00.000Z  ! fault_raised evse=1 GroundFault",
    ]


def test_config() -> None:
    assert lines("config", ex.CONFIG) == [
        "OCPPCommCtrlr.HeartbeatInterval = 300 s  [csms, ReadWrite, 1.6 HeartbeatInterval]",
        "SecurityCtrlr.BasicAuthPassword = (may only be written)  [default, WriteOnly]",
    ]


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({}, "OCPPCommCtrlr.HeartbeatInterval = 60"),
        ({"status": "RebootRequired"}, "OCPPCommCtrlr.HeartbeatInterval = 60; it takes effect after a restart"),
        ({"value": None}, "OCPPCommCtrlr.HeartbeatInterval = (set)"),
        (
            {"is_stored": False},
            "OCPPCommCtrlr.HeartbeatInterval = 60; NOT on disk: the storage has failed, and a restart forgets it",
        ),
    ],
)
def test_a_set_variable(changes: dict[str, object], shown: str) -> None:
    assert lines("config.set", {**ex.SET, **changes}) == [shown]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7_199, "119 min"), (7_200, "2 h"), (172_799, "47 h"), (172_800, "2 days")],
)
def test_durations_are_short(seconds: int, shown: str) -> None:
    answer = {**ex.STATUS, "uptime_s": seconds}
    assert f", up {shown}," in lines("status", answer)[0]


def test_what_others_wrote_cannot_drive_the_terminal() -> None:
    """A CSMS chooses its errors: no escape sequence, no line end, no change of direction of theirs reaches the screen."""
    evil = "\x1b]0;owned\x07\x1b[2J\r\nEVSE 1: energy may flow\x9b1A\u202e\u2028é…"
    text = render("events", [{**ex.EVENTS[1], "detail": evil}])
    assert text.count("\n") == 1
    assert text[:-1].isprintable()
    assert "é…" in text


def test_a_method_without_words_of_its_own_is_shown_as_json() -> None:
    assert json.loads(render("rpc.discover", {"openrpc": "1.3.2"})) == {"openrpc": "1.3.2"}


@pytest.mark.parametrize(("method", "answer"), [("status", []), ("status", {}), ("why", {"a": 1}), ("why", [1]), ("events", "x")])
def test_another_shape_is_an_error_and_not_a_wrong_statement(method: str, answer: object) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        render(method, answer)
