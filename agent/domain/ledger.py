"""The chain of finished sessions: what a row says, how its hash is made, and the proof. docs/ledger.md has the same in words.

Nothing here reads a disk: the store writes rows by these functions, and the daemon, `chargerctl` and a third party check them by the same.
A body is proved as the bytes that were stored, so a later version may write others without breaking older rows.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import field
from enum import StrEnum
from typing import Final

from agent.domain.values import dataclass

VERSION: Final = 1
ZERO_HASH: Final = "0" * 64
"""What the very first row names as the hash before it."""
SALT_BYTES: Final = 16

Facts = dict[str, object]
"""JSON with whole numbers and texts only: money, energy and times are texts, as the store writes them."""

_LEFT_OUT: Final = frozenset({"ended_values", "last_reading", "next_seq_no", "last_event_at", "charging_state"})
"""Of a record: what is no fact of the bill."""
_TOKEN_KEYS: Final = frozenset({"value", "type"})


class RowKind(StrEnum):
    """What a row is about."""

    SESSION = "session"
    PRUNED = "pruned"
    """Older rows were removed in order; says up to which, and the hash at which they ended."""
    GAP = "gap"
    """Rows were lost with a damaged file; says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row as it is stored. `previous` and both hashes are 64 hexadecimal digits; `body` None: only the link is shown."""

    index: int
    previous: str
    body_hash: str
    hash: str
    body: str | None


@dataclass(frozen=True, slots=True)
class Head:
    """The newest row of a chain."""

    index: int
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedHead:
    """What the device said about a head. `signature` is base64 (ECDSA P-256, SHA-256, DER) over the statement's bytes, "" without a key.

    `key_id` is the SHA-256 of the public key (DER SubjectPublicKeyInfo) in hexadecimal digits.
    """

    statement: str
    signature: str = ""
    key_id: str = ""

    @property
    def head(self) -> Head | None:
        """The row that the statement names, None where it cannot be read."""
        found = read_body(self.statement)
        index, digest = found.get("index"), found.get("hash")
        return Head(index, digest) if isinstance(index, int) and isinstance(digest, str) else None


@dataclass(frozen=True, slots=True)
class Disclosure:
    """A personal value and the salt of its commitment. Erased with the person's data; the chain stays whole without it."""

    salt: bytes = field(repr=False)
    value: str = field(repr=False)


# --------------------------------------------------------------------------------------------------------------------- making


def canonical(value: object) -> str:
    """JSON with sorted keys, no blanks, ASCII only: the same facts give the same text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _sha256(data: bytes) -> str:
    from hashlib import sha256  # loads OpenSSL: a start must not wait for it

    return sha256(data).hexdigest()


def digest_of(text: str) -> str:
    """SHA-256 of a body."""
    return _sha256(text.encode("utf-8", "surrogatepass"))


def link_hash(index: int, previous: str, body_hash: str) -> str:
    """The hash of a row. The words in front keep it apart from every other use of SHA-256."""
    return _sha256(f"charger-agent ledger {VERSION} {index} {previous} {body_hash}".encode())


def make_row(index: int, previous: str, body: str) -> Row:
    """The row that follows `previous`."""
    body_hash = digest_of(body)
    return Row(index=index, previous=previous, body_hash=body_hash, hash=link_hash(index, previous, body_hash), body=body)


def commitment(name: str, disclosure: Disclosure) -> str:
    """What stands in a body in place of a personal value: it says nothing about the value without the salt."""
    return _sha256(disclosure.salt + f"{name}:{disclosure.value}".encode("utf-8", "surrogatepass"))


def head_statement(head: Head, *, chain: str, station: str, utc: str | None) -> str:
    """What the device signs, and what the portal gets."""
    return canonical({"chain": chain, "hash": head.hash, "index": head.index, "station": station, "time": utc, "v": VERSION})


def read_record(text: str) -> Facts:
    """A stored record as JSON; a fraction would stay text. Raises ValueError."""
    found = json.loads(text, parse_float=str, parse_constant=str)
    if isinstance(found, dict):
        return found
    raise ValueError("a record is an object")


def read_body(text: str) -> Facts:
    """A body or a statement; empty where it is none."""
    try:
        return read_record(text)
    except ValueError:
        return {}


def personal_values(record: Facts) -> dict[str, str]:
    """The tokens of a record: `id_token`, `group_id_token`, `stop_id_token`, and whatever else is one, as `type:value`."""
    return {name: f"{value['type']}:{value['value']}" for name, value in record.items() if isinstance(value, dict) and _is_token(value)}


def session_facts(record: Facts) -> Facts:
    """What of a record is billed by or explains the bill. Tokens are left out: their commitments take their place."""
    return {name: _bare(value) for name, value in record.items() if name not in _LEFT_OUT and not _is_token(value)}


def tokens_in(value: object) -> Iterator[str]:
    """Every token of a record, however deep it stands."""
    if isinstance(value, dict):
        if _is_token(value):
            yield str(value["value"])
        else:
            for item in value.values():
                yield from tokens_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from tokens_in(item)


def without_tokens(record: Facts) -> str:
    """A record as it is stored once its personal data was erased."""
    return json.dumps(_without_tokens(record), separators=(",", ":"))


def _without_tokens(value: object) -> object:
    if _is_token(value):
        return None
    if isinstance(value, dict):
        return {name: _without_tokens(item) for name, item in value.items()}
    return [_without_tokens(item) for item in value] if isinstance(value, list) else value


def ended_utc(body: str) -> str | None:
    """When the session of a row ended, as RFC 3339 in UTC; None where that was not known, and for a row about no session."""
    session = read_body(body).get("session")
    ended = session.get("ended_at") if isinstance(session, dict) else None
    utc = ended.get("utc") if isinstance(ended, dict) else None
    return utc if isinstance(utc, str) else None


def _is_token(value: object) -> bool:
    return isinstance(value, dict) and value.keys() == _TOKEN_KEYS


def _bare(value: object) -> object:
    """Without the quantities of a reading (voltages and currents at the moment), and without tokens deeper down."""
    if isinstance(value, dict):
        return {name: None if _is_token(item) else _bare(item) for name, item in value.items() if name != "quantities"}
    if isinstance(value, list):
        return [None if _is_token(item) else _bare(item) for item in value]
    return value


def session_body(record: Facts, commitments: Mapping[str, str], *, chain: str, station: str, is_late: bool) -> str:
    """The body of a finished session. `is_late`: entered after it ended (a file of an older version, or one that was salvaged)."""
    return canonical(
        {
            "v": VERSION,
            "kind": RowKind.SESSION.value,
            "chain": chain,
            "station": station,
            "entered": "later" if is_late else "at its end",
            "session": {**session_facts(record), **{name: {"commitment": value} for name, value in commitments.items()}},
        }
    )


def pruned_body(through: Head, *, chain: str, sessions: int, why: str) -> str:
    """The body of a row that stands for the rows up to `through`."""
    return canonical(
        {
            "v": VERSION,
            "kind": RowKind.PRUNED.value,
            "chain": chain,
            "through": through.index,
            "hash": through.hash,
            "sessions": sessions,
            "why": why,
        }
    )


def gap_body(missing: list[tuple[int, int]], *, chain: str, old_head: Head | None, why: str) -> str:
    """The body of a row that says which rows were lost. `old_head`: the newest row that is known to have been there."""
    head = None if old_head is None else {"index": old_head.index, "hash": old_head.hash}
    ranges = [[first, last] for first, last in missing]
    return canonical({"v": VERSION, "kind": RowKind.GAP.value, "chain": chain, "missing": ranges, "old_head": head, "why": why})


# --------------------------------------------------------------------------------------------------------------------- proving


def record_problem(body: str, record: Facts, columns: Mapping[str, object]) -> str | None:
    """What of a stored record says something else than the chain, in a few words; None where they agree.

    A wall time that became known later is no difference, nor a field that the row does not know. `columns` stand beside the record.
    """
    proved = read_body(body).get("session")
    if not isinstance(proved, dict):
        return "the row is about no session"
    beside = sorted(columns.keys() & proved.keys())
    return _difference(proved, session_facts(record), "") or _difference({n: proved[n] for n in beside}, dict(columns), "")


def _difference(proved: object, found: object, where: str) -> str | None:
    if isinstance(proved, dict) and isinstance(found, dict):
        for name, value in proved.items():
            if isinstance(value, dict) and "commitment" in value:
                continue
            if name == "utc" and value is None:
                continue
            if name not in found:
                return f"{where}{name} is missing"
            problem = _difference(value, found[name], f"{where}{name}.")
            if problem is not None:
                return problem
        return None
    if isinstance(proved, list) and isinstance(found, list) and len(proved) == len(found):
        for number, (one, other) in enumerate(zip(proved, found, strict=True)):
            problem = _difference(one, other, f"{where}{number}.")
            if problem is not None:
                return problem
        return None
    return (
        None if proved == found and type(proved) is type(found) else f"{where.rstrip('.')} is {found!s:.40} there and {proved!s:.40} here"
    )


def commitments_of(body: str) -> dict[str, str]:
    """The commitments of a session's row, by name."""
    session = read_body(body).get("session")
    if not isinstance(session, dict):
        return {}
    found = {name: value.get("commitment") for name, value in session.items() if isinstance(value, dict)}
    return {name: value for name, value in found.items() if isinstance(value, str)}


def commitment_problem(body: str, disclosures: Mapping[str, Disclosure], record: Facts | None) -> str | None:
    """What is wrong with the personal data, never with the data in the sentence; None also where it was erased."""
    promised = commitments_of(body)
    for name, disclosure in disclosures.items():
        if promised.get(name) != commitment(name, disclosure):
            return f"{name} is not the one that was committed to"
    for name, value in ({} if record is None else personal_values(record)).items():
        if name not in promised:
            return f"the record has a {name}, the chain has none"
        if name not in disclosures:
            return f"the salt of {name} is missing, so nothing proves the one in the record"
        if disclosures[name].value != value:
            return f"{name} of the record is not the one that was committed to"
    return None


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a row: `what` is link, body, order, missing, record, commitment, head or signature."""

    index: int
    what: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the proof came to. Sound: no problem.

    `lost` are rows that a gap row declares, `pruned` is the last row that was removed in order.
    """

    rows: int
    sessions: int
    head: Head | None
    problems: tuple[Problem, ...]
    pruned: int
    lost: tuple[tuple[int, int], ...]
    missing: tuple[tuple[int, int], ...]
    """Rows that are not there, and of which no row says why."""
    signed: int
    """The newest row that a valid signature covers, 0 where there is none."""

    @property
    def is_sound(self) -> bool:
        """Whether nothing is broken."""
        return not self.problems

    @property
    def first(self) -> Problem | None:
        """The first broken row."""
        return min(self.problems, key=lambda problem: problem.index, default=None)


class Verifier:
    """Walks a chain row by row, the oldest first. `feed` each row, `heads` that are known, then `verdict`."""

    def __init__(self, *, is_part: bool = False) -> None:
        """`is_part`: rows before the first one were left out on purpose (an export of some days)."""
        self._is_part = is_part
        self._rows = self._sessions = self._signed = 0
        self._last: Row | None = None
        self._holes: list[tuple[int, int, str]] = []
        self._declared: list[tuple[int, int]] = []
        self._pruned: dict[int, str] = {}
        self._begins_after = 0
        self._problems: list[Problem] = []
        self._hashes: dict[int, str] = {}
        self._heads: list[Head] = []
        self._chain: object = None

    def feed(self, row: Row) -> None:
        """The next row."""
        last = self._last
        self._rows += 1
        if last is not None and row.index <= last.index:
            self._complain(row.index, "order", f"stands behind row {last.index}")
        elif last is None and row.index > 1:
            self._begins_after = row.index - 1
            if not self._is_part:
                self._holes.append((1, row.index - 1, row.previous))
        elif last is None and row.previous != ZERO_HASH:
            self._complain(row.index, "link", "is the first row and names one before it")
        elif last is not None and row.index > last.index + 1:
            self._holes.append((last.index + 1, row.index - 1, row.previous))
        elif last is not None and row.previous != last.hash:
            self._complain(row.index, "link", f"does not continue row {last.index}: it names another hash")
        if row.body is not None and digest_of(row.body) != row.body_hash:
            self._complain(row.index, "body", "its body was changed: it has another hash")
        if link_hash(row.index, row.previous, row.body_hash) != row.hash:
            self._complain(row.index, "link", "its hash is not that of its parts")
        self._read(row)
        self._last = row
        self._hashes[row.index] = row.hash

    def complain(self, index: int, what: str, text: str) -> None:
        """What somebody else found about a row (the record beside it)."""
        self._complain(index, what, text)

    def head_known(self, head: Head, *, is_signed: bool = False, says: str = "a head") -> None:
        """A head that is known from elsewhere: signed by the device, sent to the portal, written down. Call after the rows."""
        found = self._hashes.get(head.index)
        if found is None and head.index > self._begins_after:
            lost = any(first <= head.index <= last for first, last in self._declared)
            if not lost:
                self._complain(head.index, "missing", f"{says} names row {head.index}, which is not there")
        elif found is not None and found != head.hash:
            self._complain(head.index, "head", f"{says} names another hash for row {head.index}")
        elif found is not None and is_signed:
            self._signed = max(self._signed, head.index)

    def verdict(self, *, must_be_signed: bool = False) -> Verdict:
        """The result. `must_be_signed`: rows that no valid signature covers are a problem."""
        problems = list(self._problems)
        lost: list[tuple[int, int]] = []
        missing: list[tuple[int, int]] = []
        pruned = 0
        for first, last, previous in self._holes:
            begins = first
            if first == 1:
                pruned = max((p for p, digest in self._pruned.items() if p < last or (p == last and digest == previous)), default=0)
                begins = pruned + 1
            if begins > last:
                continue
            if self._is_declared(begins, last):
                lost.append((begins, last))
            else:
                which = f"rows {begins} to {last} are" if last > begins else f"row {begins} is"
                problems.append(Problem(begins, "missing", f"{which} missing, and no row says why"))
                missing.append((begins, last))
        head = None if self._last is None else Head(self._last.index, self._last.hash)
        if must_be_signed and head is not None and self._signed < head.index:
            problems.append(Problem(self._signed + 1, "signature", "no valid signature of the device covers it"))
        return Verdict(
            rows=self._rows,
            sessions=self._sessions,
            head=head,
            problems=tuple(problems),
            pruned=pruned,
            lost=tuple(lost),
            missing=tuple(missing),
            signed=self._signed,
        )

    def _is_declared(self, first: int, last: int) -> bool:
        """Whether gap rows together declare a stretch as lost."""
        for begin, end in sorted(self._declared):
            if begin <= first <= end:
                first = end + 1
        return first > last

    def _read(self, row: Row) -> None:
        if row.body is None:
            return
        body = read_body(row.body)
        match body.get("kind"):
            case RowKind.SESSION:
                self._sessions += 1
            case RowKind.PRUNED:
                through, digest = body.get("through"), body.get("hash")
                if isinstance(through, int) and isinstance(digest, str):
                    self._pruned[through] = digest
            case RowKind.GAP:
                missing = body.get("missing")
                self._declared += _ranges(missing)
                self._chain = None
            case _:
                self._complain(row.index, "body", "its body says nothing that is known")
        chain = body.get("chain")
        if self._chain is not None and chain != self._chain:
            self._complain(row.index, "link", "belongs to another chain")
        self._chain = chain

    def _complain(self, index: int, what: str, text: str) -> None:
        self._problems.append(Problem(index, what, text))


def _ranges(found: object) -> list[tuple[int, int]]:
    """The stretches that a gap row declares; what makes no sense declares nothing."""
    if not isinstance(found, list):
        return []
    return [(each[0], each[1]) for each in found if isinstance(each, list) and len(each) == 2 and all(isinstance(n, int) for n in each)]
