"""`chargerctl storage` in words."""

from collections.abc import Iterator, Mapping

Row = Mapping[str, object]


def text(result: object) -> Iterator[str]:
    """The answer, line by line. Raises KeyError, TypeError or ValueError where it has another shape."""
    if not isinstance(result, dict):
        raise TypeError("storage is an object")
    top: Row = result
    trouble = top["trouble"]
    state = "good" if not trouble else f"LOW: {trouble}" if top["is_durable"] else f"FAILED: {trouble}"
    yield f"storage    {state}"
    if top["last_trouble"] and top["last_trouble"] != trouble:
        yield f"           last trouble: {top['last_trouble']}"
    free = "" if top["free_bytes"] is None else f", {_size(top['free_bytes'])} free on the disk"
    in_use = f"{_size(top['used_bytes'])} in use of at most {_size(top['file_max_bytes'])}"
    yield f"file       {_size(top['file_bytes'])} ({in_use}), {top['path']}"
    yield (
        f"beside it  log {_size(top['log_bytes'])}, reserve {_size(top['reserve_bytes'])}, older files {_size(top['kept_bytes'])}; "
        f"all together at most {_size(top['max_bytes'])}{free}"
    )
    rows = [f"{row['rows']} {row['table']}" for row in _rows(top["tables"]) if row["rows"]]
    yield f"rows       {', '.join(rows) or 'none'}"
    if top["oldest_session"]:
        yield f"oldest     session of {top['oldest_session']}"
    if top["thinned"]:
        yield f"thinned    {top['thinned']} periodic values"
    yield f"commits    {top['commits']}, {top['failures']} failed, the slowest took {top['slowest_commit_ms']} ms"
    yield f"written    {_cost(top['total'])} since the start{_process(top['process_bytes'])}"
    yield f"idle day   {_projected(top['idle_day'], top['idle_s'])}"
    yield f"charging   {_projected(top['charging_hour'], top['charging_s'])}"
    for device in _rows(top["emmc"]):
        yield f"eMMC       {device['device']}: {device['used']} of its life used"


def _rows(value: object) -> list[Row]:
    if not isinstance(value, list):
        raise TypeError("a list is expected")
    return value


def _process(count: object) -> str:
    return "" if count is None else f"; the whole process {_size(count)}"


def _projected(cost: object, seconds: object) -> str:
    if cost is None:
        return f"not known yet, {seconds} s seen"
    return f"{_cost(cost)}, from {seconds} s seen"


def _cost(cost: object) -> str:
    if not isinstance(cost, dict):
        raise TypeError("a cost is an object")
    return f"{_size(cost['written_bytes'])} in {cost['syncs']} syncs, {_size(cost['flash_bytes'])} in blocks of the flash"


def _size(count: object) -> str:
    value = float(str(count))
    for unit in ("B", "KiB", "MiB"):
        if value < 1024 or unit == "MiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError
