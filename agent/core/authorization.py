"""Who may charge: the CSMS is asked while it can be reached, the cache answers when it cannot (1.6 3.5, 2.x C01, C12, C15)."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from agent.core import availability, transactions
from agent.core import evse as session
from agent.core import variables as var
from agent.core.state import Authorization, AuthorizationState, Evse, Phase, Refusal, Station, Turn
from agent.domain.authorization import AuthorizationStatus, IdToken, IdTokenInfo
from agent.domain.effects import Send
from agent.domain.events import IdTokenPresented
from agent.domain.ids import RequestId
from agent.domain.notices import AuthorizeNotice
from agent.domain.records import CacheEntry
from agent.domain.transaction import ChargingState, StoppedReason, TriggerReason

CACHE_SIZE = 500


def presented(turn: Turn, event: IdTokenPresented) -> None:
    """A driver showed a token: it stops its own transaction, gives its place back, or asks to charge."""
    evse = _evse_for(turn, event)
    if evse is None:
        turn.remark("token_ignored", None, "no EVSE is waiting for a token")
        return
    asked = Authorization(
        id_token=event.id_token,
        state=AuthorizationState.PENDING,
        since=turn.at,
        request_id=event.request_id,
        new_transaction_id=event.transaction_id,
    )
    if evse.held_for is not None and evse.held_for.same_as(event.id_token):
        evse = turn.put(replace(evse, held_for=None))
        if evse.phase is Phase.FREE and evse.plugged_at is None:
            return
    if evse.has_transaction:
        _stop_by_token(turn, evse, asked)
    elif evse.authorization is not None and evse.authorization.id_token.same_as(event.id_token):
        turn.remark("authorization_returned", evse, "the driver presented the token again before the start")
        turn.put(replace(evse, authorization=None, reading_due=None))
    elif (blocker := availability.start_blocker(turn.station, evse)) is not None:
        turn.remark("token_refused", evse, blocker)
        session.refuse(turn, evse, Refusal.TOKEN_REFUSED)
    else:
        ask(turn, evse, asked)


def ask(turn: Turn, evse: Evse, asked: Authorization) -> Evse:
    """Decide about a token, or ask the CSMS."""
    local = _local_answer(turn, asked.id_token)
    if local is None:
        turn.emit(Send(AuthorizeNotice(request_id=asked.request_id, id_token=asked.id_token)))
        return turn.put(replace(evse, authorization=asked, refusal=None))
    evse = turn.put(replace(evse, authorization=replace(asked, is_offline=not turn.station.is_online), refusal=None))
    return _decided(turn, evse, local)


def answered(turn: Turn, request_id: RequestId, info: IdTokenInfo) -> None:
    """The CSMS's answer to an Authorize. A late one, whose question is gone, changes nothing."""
    for evse in turn.station.evses:
        if evse.authorization is not None and evse.authorization.request_id == request_id:
            remember(turn, evse.authorization.id_token, info)
            _decided(turn, turn.evse(evse.evse_id), info)
            return
        if evse.stop_check is not None and evse.stop_check.request_id == request_id:
            remember(turn, evse.stop_check.id_token, info)
            _stop_check_answered(turn, turn.evse(evse.evse_id), info)
            return


def failed(turn: Turn, request_id: RequestId, reason: str) -> None:
    """No answer came: decide as if offline."""
    for evse in turn.station.evses:
        if evse.authorization is not None and evse.authorization.request_id == request_id:
            turn.remark("authorize_failed", evse, reason)
            evse = turn.put(replace(evse, authorization=replace(evse.authorization, is_offline=True)))  # noqa: PLW2901 - as it is now
            _decided(turn, evse, _offline_answer(turn, evse.authorization.id_token) if evse.authorization else _refused())
            return
        if evse.stop_check is not None and evse.stop_check.request_id == request_id:
            turn.put(replace(evse, stop_check=None))
            return


def transaction_answered(turn: Turn, evse: Evse, info: IdTokenInfo) -> None:
    """The CSMS's word about the token of a running transaction (1.6 StartTransaction.conf, 2.x C15, E05)."""
    record = evse.transaction
    if record is None or record.id_token is None:
        return
    remember(turn, record.id_token, info)
    evse = turn.evse(evse.evse_id)
    if info.group_id_token is not None and record.group_id_token is None:
        evse = turn.put(replace(evse, transaction=replace(record, group_id_token=info.group_id_token)))
    if info.status is AuthorizationStatus.ACCEPTED or not (evse.phase is Phase.TRANSACTION or session.may_go_on(evse)):
        return
    turn.remark("deauthorized", evse, f"the CSMS answered {info.status}", is_warning=True)
    if evse.phase is not Phase.TRANSACTION:
        # Nothing is offered any more: it would go on in this run or the next, and now it does not.
        session.request_stop(turn, evse, StoppedReason.DE_AUTHORIZED, TriggerReason.DEAUTHORIZED)
        return
    if turn.station.variables.boolean(var.STOP_TX_ON_INVALID_ID):
        if evse.config.has_lock:
            evse = turn.put(replace(evse, held_for=record.id_token))
        session.request_stop(turn, evse, StoppedReason.DE_AUTHORIZED, TriggerReason.DEAUTHORIZED)
    elif evse.suspended_reason is None:
        evse = turn.put(replace(evse, suspended_reason=StoppedReason.DE_AUTHORIZED, suspended_at=turn.at))
        record = evse.transaction or record
        suspended = replace(record, charging_state=ChargingState.SUSPENDED_EVSE, is_deauthorized=True)
        evse = turn.put(replace(evse, transaction=suspended))
        transactions.update(turn, evse, TriggerReason.DEAUTHORIZED)


def remember(turn: Turn, id_token: IdToken, info: IdTokenInfo) -> None:
    """Keep the CSMS's answer in the cache, newest last; the oldest makes room."""
    if not turn.station.variables.boolean(var.CACHE_ENABLED):
        return
    name = id_token.value.casefold()
    known = turn.station.cache.get(name)
    if known is not None and known.info == info:
        return
    cache = {key: entry for key, entry in turn.station.cache.items() if key != name}
    while len(cache) >= CACHE_SIZE:
        useless = next((key for key, entry in cache.items() if entry.info.status is not AuthorizationStatus.ACCEPTED), None)
        cache.pop(useless if useless is not None else next(iter(cache)))
    cache[name] = CacheEntry(id_token=id_token, info=info, stored_at=turn.at.utc)
    turn.station = replace(turn.station, cache=cache)


def _evse_for(turn: Turn, event: IdTokenPresented) -> Evse | None:
    if event.evse_id is not None:
        return turn.station.evse(event.evse_id)
    evses, startable = turn.station.evses, availability.startable(turn.station)
    rules: tuple[Callable[[Evse], bool], ...] = (
        lambda e: e.held_for is not None and e.held_for.same_as(event.id_token),
        lambda e: e.has_transaction and e.transaction is not None and event.id_token.same_as(e.transaction.id_token),
        lambda e: e.authorization is not None and e.authorization.id_token.same_as(event.id_token),
        lambda e: e.phase is Phase.FINISHED and e.transaction is not None and event.id_token.same_as(e.transaction.id_token),
        lambda e: e is next(iter(startable), None),
        lambda e: e.has_transaction,
        lambda _: len(evses) == 1,
    )
    return next((evse for rule in rules for evse in evses if rule(evse)), None)


def _stop_by_token(turn: Turn, evse: Evse, asked: Authorization) -> None:
    record = evse.transaction
    if record is None or not (evse.phase is Phase.TRANSACTION or session.may_go_on(evse)):
        return
    if asked.id_token.same_as(record.id_token):
        session.request_stop(turn, evse, StoppedReason.LOCAL, TriggerReason.STOP_AUTHORIZED, token=asked)
        return
    # Another token of the same group may stop it (1.6 4.8 parentIdTag, 2.x C09): only the CSMS or the cache knows the group.
    local = _local_answer(turn, asked.id_token)
    if local is None:
        turn.emit(Send(AuthorizeNotice(request_id=asked.request_id, id_token=asked.id_token)))
        turn.put(replace(evse, stop_check=asked))
    else:
        _stop_check_answered(turn, turn.put(replace(evse, stop_check=asked)), local)


def _stop_check_answered(turn: Turn, evse: Evse, info: IdTokenInfo) -> None:
    asked, record = evse.stop_check, evse.transaction
    evse = turn.put(replace(evse, stop_check=None))
    if asked is None or record is None or not evse.has_transaction:
        return
    same_group = info.group_id_token is not None and info.group_id_token.same_as(record.group_id_token)
    if info.status is AuthorizationStatus.ACCEPTED and same_group:
        session.request_stop(turn, evse, StoppedReason.LOCAL, TriggerReason.STOP_AUTHORIZED, token=asked)
    else:
        turn.remark("token_refused", evse, "the transaction belongs to another token")


def _decided(turn: Turn, evse: Evse, info: IdTokenInfo) -> Evse:
    authorization = evse.authorization
    if authorization is None:
        return evse
    if info.status is AuthorizationStatus.ACCEPTED:
        granted = replace(authorization, state=AuthorizationState.GRANTED, group_id_token=info.group_id_token, since=turn.at)
        turn.remark("authorized", evse, "answered by the station" if authorization.is_offline else "")
        return turn.put(replace(evse, authorization=granted))
    turn.remark("token_refused", evse, f"answer {info.status}")
    return session.refuse(turn, turn.put(replace(evse, authorization=None)), Refusal.TOKEN_REFUSED)


def _local_answer(turn: Turn, id_token: IdToken) -> IdTokenInfo | None:
    """The station's own answer, None when the CSMS has to be asked."""
    if not turn.station.is_online:
        return _offline_answer(turn, id_token)
    if turn.station.variables.boolean(var.LOCAL_PRE_AUTHORIZE):
        info = _cached(turn.station, id_token, turn.at.utc)
        # C10.FR.01: only a valid, accepted entry saves the question; any other is asked about.
        if info is not None and info.status is AuthorizationStatus.ACCEPTED:
            return info
    return None


def _offline_answer(turn: Turn, id_token: IdToken) -> IdTokenInfo:
    variables = turn.station.variables
    info = _cached(turn.station, id_token, turn.at.utc) if variables.boolean(var.LOCAL_AUTHORIZE_OFFLINE) else None
    if info is not None:
        return info
    if variables.boolean(var.OFFLINE_UNKNOWN_ID) and id_token.value.casefold() not in turn.station.cache:
        return IdTokenInfo(AuthorizationStatus.ACCEPTED)
    return _refused()


def _refused() -> IdTokenInfo:
    return IdTokenInfo(AuthorizationStatus.UNKNOWN)


def _cached(station: Station, id_token: IdToken, now: datetime | None) -> IdTokenInfo | None:
    if not station.variables.boolean(var.CACHE_ENABLED):
        return None
    entry = station.cache.get(id_token.value.casefold())
    if entry is None:
        return None
    expiry = entry.info.cache_expiry
    if expiry is not None and now is not None and now >= expiry:
        return IdTokenInfo(AuthorizationStatus.EXPIRED, expiry, entry.info.group_id_token)
    return entry.info
