"""Answers of the daemon, one of each shape. They obey the schemas that the socket publishes (checked in test_text)."""

from typing import Any

ID = "0e5f1b9c-6f0f-4b7e-9a52-000000000001"

STATUS: dict[str, Any] = {
    "station_id": "CP001",
    "version": "0.1.0",
    "pid": 812,
    "uptime_s": 7_300,
    "rss_kib": 40_960,
    "clock": {
        "utc": "2026-03-01T12:00:00.000Z",
        "trust": "ocpp",
        "not_before": "2026-02-28T07:00:00.000Z",
        "synchronized_s": 12,
        "csms_ahead_s": 0.3,
        "csms_told_s": 12,
        "alarm": "",
        "cure": "",
    },
    "csms": {
        "state": "accepted",
        "url": "wss://csms.example/CP001",
        "subprotocol": "ocpp2.0.1",
        "since_s": 7_200,
        "last_exchange_s": 12,
        "next_attempt_s": None,
        "flaps": 0,
        "last_error": "",
        "cure": "",
        "insecure": "everybody on the way can read, change and forge every message (security_profile 0)",
        "tls": {
            "is_unsure": False,
            "expires": "2026-03-05T12:00:00.000Z",
            "text": "the root certificate Example Root expires in 4 days, on 2026-03-05",
            "cure": "put the CSMS's new root into ocpp.ca_file beside the old one, or update the system's roots",
        },
    },
    "storage": {
        "is_durable": True,
        "trouble": "",
        "busy_s": 0.0,
        "queued": 1,
        "queue_room": 20_000,
        "path": "/var/lib/charger-agent/charger-agent.db",
        "dead_letters": 0,
        "thinned": 0,
        "file_bytes": 40_960,
        "written_bytes": 8_192,
        "commits": 4,
        "syncs": 4,
        "failures": 0,
        "slowest_commit_ms": 7.5,
    },
    "faults": [],
    "evses": [
        {
            "evse": 1,
            "screen": "charging",
            "phase": "transaction",
            "pilot": "C",
            "offered_a": "32",
            "contactor": "closed",
            "lock": None,
            "transaction_id": ID,
            "charging_state": "Charging",
            "energy_wh": 1_250,
            "power_w": "6900",
            "seconds": 652,
            "cost": "16.06 NOK",
            "operational": "Operative",
            "faults": [],
            "blocker": None,
            "qr": None,
        },
        {
            "evse": 2,
            "screen": "faulted",
            "phase": "free",
            "pilot": None,
            "offered_a": "0",
            "contactor": "open",
            "lock": "unlocked",
            "transaction_id": None,
            "charging_state": None,
            "energy_wh": None,
            "power_w": None,
            "seconds": None,
            "cost": None,
            "operational": "Operative",
            "faults": ["GroundFault"],
            "blocker": "hardware",
            "qr": None,
        },
    ],
}

STATUS_IN_TROUBLE: dict[str, Any] = {
    **STATUS,
    "rss_kib": None,
    "clock": {
        "utc": None,
        "trust": "persisted",
        "not_before": "2026-02-28T07:00:00.000Z",
        "synchronized_s": None,
        "csms_ahead_s": None,
        "csms_told_s": None,
        "alarm": "nobody has said what time it is for 30 h",
        "cure": "see why neither NTP nor the CSMS is reached",
    },
    "csms": {
        **STATUS["csms"],
        "state": "offline",
        "since_s": 90,
        "last_exchange_s": None,
        "next_attempt_s": 8,
        "last_error": "csms.example:443 refused the connection",
        "cure": "check the network and ocpp.url; the CSMS may be down",
        "insecure": "",
        "tls": {"is_unsure": True, "expires": None, "text": "", "cure": ""},
    },
    "storage": {
        **dict.fromkeys(STATUS["storage"]),
        "is_durable": False,
        "trouble": "the disk is full",
        "busy_s": 0.0,
        "queued": 3,
        "queue_room": 4,
    },
    "faults": [{"kind": "EmergencyStop", "detail": "the button is pressed", "since_s": 61}],
    "evses": STATUS["evses"][1:],
}

BLOCKER: dict[str, Any] = {
    "name": "vehicle",
    "holds": False,
    "text": "no vehicle is connected",
    "since": None,
    "since_s": None,
    "cure": "plug in",
}
FAULT: dict[str, Any] = {
    "name": "hardware",
    "holds": False,
    "text": "fault GroundFault: protective earth is missing",
    "since": "2026-03-01T12:00:00.000Z",
    "since_s": 125,
    "cure": "look at the hardware",
}
FINE: dict[str, Any] = {"name": "agent", "holds": True, "text": "running", "since": None, "since_s": None, "cure": ""}

WHY: list[Any] = [
    {"evse": 1, "blocker": BLOCKER, "chain": [FINE, BLOCKER, {**BLOCKER, "name": "authorization", "text": "nobody is authorized"}]},
    {"evse": 2, "blocker": FAULT, "chain": [FINE, FAULT]},
    {"evse": 3, "blocker": None, "chain": [FINE]},
]

METER: dict[str, Any] = {
    "meters": [
        {
            "evse": 1,
            "template": "eastron-sdm630",
            "where": "serial:///dev/ttyUSB0 device 1",
            "serial_number": "24115071",
            "is_lost": False,
            "lost_s": None,
            "problem": None,
            "readings": 120,
            "suspect_readings": 0,
            "failed_reads": 1,
            "lifetime_wh": "1234560.00",
            "reading": {
                "at": "2026-03-01T12:00:00.000Z",
                "age_ms": 340,
                "energy_wh": "1234560.00",
                "resolution_wh": "1",
                "quality": "good",
                "quantities": [
                    {"measurand": "Voltage", "phase": "L1-N", "value": "230.1", "unit": "V"},
                    {"measurand": "Frequency", "phase": None, "value": "50", "unit": "Hz"},
                ],
            },
            "checks": [
                {"name": "voltage", "holds": True, "text": "230.1, 230.2, 229.9 V"},
                {"name": "power", "holds": False, "text": "11 W, voltage times current 11040 VA: wrong unit"},
                {"name": "energy", "holds": None, "text": "needs a load"},
            ],
        },
        {
            "evse": 2,
            "template": "carlo-gavazzi-em340",
            "where": "serial:///dev/ttyUSB0 device 2",
            "serial_number": None,
            "is_lost": True,
            "lost_s": 300,
            "problem": "no answer within 1 s",
            "readings": 0,
            "suspect_readings": 0,
            "failed_reads": 14,
            "lifetime_wh": None,
            "reading": None,
            "checks": [],
        },
        {"evse": 3, "is_lost": True, "problem": "no meter is configured: add [evse.meter]", "template": None},
    ],
    "buses": [
        {
            "bus": "serial:///dev/ttyUSB0",
            "is_open": False,
            "requests": 150,
            "answers": 120,
            "timeouts": 30,
            "exceptions": 0,
            "bad_frames": 2,
            "reconnects": 1,
            "overloads": 0,
            "devices": [
                {
                    "device": 2,
                    "requests": 30,
                    "answers": 0,
                    "timeouts": 30,
                    "exceptions": 0,
                    "failures_in_a_row": 14,
                    "quarantine_s": 12.5,
                }
            ],
        }
    ],
}

SESSIONS: list[Any] = [
    {
        "transaction_id": ID,
        "remote_id": 77,
        "evse": 1,
        "started": "2026-03-01T12:00:00.000Z",
        "ended": "2026-03-01T13:00:00.000Z",
        "is_running": False,
        "register_start_wh": "1000",
        "register_stop_wh": "8500",
        "is_estimated": True,
        "energy_wh": 7_500,
        "cost": "38.75 NOK",
        "stopped_reason": "PowerLoss",
        "meter_serial_number": "24115071",
        "segments": [
            {"serial_number": "24115071", "start_wh": "1000", "stop_wh": "8500", "ended_by": "swap", "is_billed": True},
            {"serial_number": "77", "start_wh": "40", "stop_wh": "43.5", "ended_by": None, "is_billed": False},
        ],
        "is_delivered": False,
        "waiting_messages": 2,
        "dead_letters": 1,
    },
    {"transaction_id": ID, "remote_id": None, "evse": 1, "problem": "the stored record cannot be read: the file was damaged"},
]

QUEUE: dict[str, Any] = {
    "state": "offline",
    "depth": 1,
    "outstanding": None,
    "next_attempt_s": 4,
    "waiting": [
        {
            "row": 12,
            "event": "Ended",
            "transaction_id": ID,
            "seq_no": 3,
            "at": None,
            "age_s": 3_600,
            "attempts": 0,
            "was_sent": True,
        }
    ],
    "dead_letters": [
        {
            "row": 9,
            "event": "Started",
            "transaction_id": ID,
            "seq_no": 0,
            "at": "2026-03-01T12:00:00.000Z",
            "attempts": 5,
            "error": "InternalError: no such card",
            "is_readable": True,
        }
    ],
}

EVENTS: list[Any] = [
    {
        "at": None,
        "age_s": 200,
        "name": "started",
        "evse": None,
        "transaction_id": None,
        "detail": "0 transaction(s) were open",
        "is_warning": False,
    },
    {
        "at": "2026-03-01T12:00:00.000Z",
        "age_s": 3,
        "name": "fault_raised",
        "evse": 1,
        "transaction_id": ID,
        "detail": "GroundFault",
        "is_warning": True,
    },
]

CONFIG: list[Any] = [
    {
        "name": "OCPPCommCtrlr.HeartbeatInterval",
        "key_1_6": "HeartbeatInterval",
        "value": "300",
        "source": "csms",
        "unit": "s",
        "access": "ReadWrite",
        "description": "Seconds between heartbeats.",
    },
    {
        "name": "SecurityCtrlr.BasicAuthPassword",
        "key_1_6": None,
        "value": None,
        "source": "default",
        "unit": None,
        "access": "WriteOnly",
        "description": "The password.",
    },
]

SET: dict[str, Any] = {"name": "OCPPCommCtrlr.HeartbeatInterval", "status": "Accepted", "value": "60", "is_stored": True}

LETTERS: dict[str, Any] = {"letters": QUEUE["dead_letters"], "next": None}

_OF_LETTER = {
    "state": "dead",
    "trigger": "Authorized",
    "register_wh": "1000",
    "meter_serial_number": "M-1",
    "stopped_reason": None,
    "cost": None,
    "values": [
        {
            "at": "2026-03-01T12:00:00.000Z",
            "context": "Transaction.Begin",
            "measurand": "Energy.Active.Import.Register",
            "phase": None,
            "value": "1000",
            "unit": "Wh",
        }
    ],
}
_WHO = {"id_token": "…D4E5", "seconds": 3600}
LETTER: dict[str, Any] = {
    "session": {**SESSIONS[0], **_WHO},
    "letter": {**QUEUE["dead_letters"][0], **_OF_LETTER},
    "others": [{**QUEUE["dead_letters"][0], "row": 10, "seq_no": 1, "event": "Ended", "error": "", "state": "held"}],
}
EXPORT: dict[str, Any] = {
    "messages": [{"session": LETTER["session"], "message": LETTER["letter"]}],
    "next": None,
}

RECORDER: dict[str, Any] = {
    "directory": "/var/lib/charger-agent/flight",
    "written_bytes": 35_000,
    "dropped": 0,
    "recordings": [
        {
            "name": "frozen-0007-fault_raised.jsonl.gz",
            "size": 9656,
            "is_frozen": True,
            "cause": "fault_raised",
            "detail": "EmergencyStop: pressed",
            "at": "2026-11-23T15:32:10.293Z",
            "problem": "",
        },
        {
            "name": "flight-0006.jsonl.gz",
            "size": 25_835,
            "is_frozen": False,
            "cause": "",
            "detail": "",
            "at": None,
            "problem": "this is no flight recording: it is no JSON",
        },
    ],
}

WAY: Any = {
    "url": "wss://csms.example/CP001",
    "is_fine": False,
    "steps": [
        {"name": "settings", "outcome": "ok", "text": "password and root certificates were read", "cure": ""},
        {"name": "name", "outcome": "ok", "text": "the name was resolved", "cure": ""},
        {"name": "tcp", "outcome": "ok", "text": "connected", "cure": ""},
        {
            "name": "tls",
            "outcome": "failed",
            "text": "TLS with csms.example:443 failed: certificate has expired",
            "cure": "the server's certificate has expired: the CSMS operator must renew it (or the station's clock is wrong)",
        },
        {"name": "http", "outcome": "not reached", "text": "", "cure": ""},
    ],
}
STORAGE: dict[str, Any] = {
    "path": "/var/lib/charger-agent/charger-agent.db",
    "is_durable": True,
    "trouble": "",
    "last_trouble": "",
    "max_bytes": 67_108_864,
    "file_bytes": 921_600,
    "used_bytes": 880_640,
    "file_max_bytes": 61_865_984,
    "log_bytes": 412_032,
    "reserve_bytes": 1_048_576,
    "kept_bytes": 0,
    "free_bytes": 3_221_225_472,
    "tables": [{"table": "outbox", "rows": 3}, {"table": "station", "rows": 0}, {"table": "transactions", "rows": 212}],
    "oldest_session": "2026-01-03T08:00:00Z",
    "thinned": 0,
    "commits": 512,
    "failures": 0,
    "slowest_commit_ms": 31.5,
    "total": {"written_bytes": 4_300_000, "flash_bytes": 8_200_000, "syncs": 516},
    "process_bytes": 9_000_000,
    "idle_s": 300_000,
    "idle_day": {"written_bytes": 52_000, "flash_bytes": 110_000, "syncs": 12},
    "charging_s": 28_800,
    "charging_hour": {"written_bytes": 530_000, "flash_bytes": 990_000, "syncs": 63},
    "emmc": [{"device": "mmcblk0", "used": "0 to 10 %, 10 to 20 %"}],
}
STORAGE_IN_TROUBLE: dict[str, Any] = {
    **STORAGE,
    "trouble": "The disk is full, what is left of it is for the sessions that run: free space on the file system of /var/lib/charger-agent",
    "last_trouble": "/var/lib/charger-agent is mounted read-only",
    "reserve_bytes": 0,
    "free_bytes": None,
    "tables": [],
    "oldest_session": None,
    "thinned": 400,
    "process_bytes": None,
    "idle_day": None,
    "charging_hour": None,
    "emmc": [],
}

EXAMPLES: list[tuple[str, Any]] = [
    ("status", STATUS),
    ("status", STATUS_IN_TROUBLE),
    ("why", WHY),
    ("meter", METER),
    ("sessions", SESSIONS),
    ("queue", QUEUE),
    ("deadletters", LETTERS),
    ("deadletters.show", LETTER),
    ("deadletters.resend", {"resent": 1, "left": 0, "depth": 4}),
    ("deadletters.export", EXPORT),
    ("ocpp.test", WAY),
    ("events", EVENTS),
    ("storage", STORAGE),
    ("storage", STORAGE_IN_TROUBLE),
    ("recorder", RECORDER),
    ("recorder", {**RECORDER, "dropped": 2, "recordings": []}),
    ("recorder.freeze", {"name": "frozen-0008-asked.jsonl.gz"}),
    ("recorder.read", {"size": 3, "data": "YWJj"}),
    ("config", CONFIG),
    ("config.set", SET),
    ("config.set", {**SET, "status": "RebootRequired", "value": None, "is_stored": False}),
]
