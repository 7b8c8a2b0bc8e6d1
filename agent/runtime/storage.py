"""What the technician's socket says about the store: the room it has, and what it costs the flash."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from agent.diagnostics.protocol import Json, Method, Params
from agent.store.store import Store
from agent.store.wear import Cost

DAY_S: Final = 86_400.0
HOUR_S: Final = 3_600.0
BLOCKS: Final = Path("/sys/block")
EMMC_TENTHS: Final = {0: "not told", 11: "beyond its life"}
"""JESD84-B51, DEVICE_LIFE_TIME_EST: tenths of the life that are used, from above."""


class StorageMethods:
    """The method `storage`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def methods(self) -> tuple[Method, ...]:
        """For the table of methods."""
        return (Method(name="storage", summary="Room of the store, rows, and what it costs the flash.", call=self.storage),)

    async def storage(self, _: Params) -> Json:
        """Everything about the disk, counted since the process opened the store. Raises StoreError."""
        report = await self._store.storage()
        status = report.status
        rows: Json = [{"table": name, "rows": count} for name, count in report.rows.items()]
        return {
            "path": str(status.path),
            "is_durable": status.is_durable,
            "trouble": status.trouble,
            "last_trouble": report.last_trouble,
            "max_bytes": report.max_bytes,
            "file_bytes": status.file_bytes,
            "used_bytes": report.used_bytes,
            "file_max_bytes": report.file_max_bytes,
            "log_bytes": status.log_bytes,
            "reserve_bytes": report.reserve_bytes,
            "kept_bytes": report.kept_bytes,
            "free_bytes": report.free_bytes,
            "tables": rows,
            "oldest_session": None if report.oldest is None else report.oldest.isoformat().replace("+00:00", "Z"),
            "thinned": status.thinned,
            "commits": status.commits,
            "failures": status.failures,
            "slowest_commit_ms": round(status.slowest_commit_ms, 1),
            "total": _cost(report.total),
            "process_bytes": process_bytes(),
            "idle_s": round(report.idle[0]),
            "idle_day": _projected(report.idle, DAY_S),
            "charging_s": round(report.charging[0]),
            "charging_hour": _projected(report.charging, HOUR_S),
            "emmc": [{"device": device, "used": used} for device, used in emmc(BLOCKS)],
        }


def _cost(cost: Cost) -> Json:
    return {"written_bytes": cost.written_bytes, "flash_bytes": cost.flash_bytes, "syncs": cost.syncs}


def _projected(spent: tuple[float, Cost], to_s: float) -> Json:
    projected = spent[1].projected(spent[0], to_s)
    return None if projected is None else _cost(projected)


def process_bytes() -> int | None:
    """Bytes that this process caused to be written, by the kernel's count: everything of it, in blocks; None where it does not tell."""
    try:
        for line in Path("/proc/self/io").read_text(encoding="ascii").splitlines():
            if line.startswith("write_bytes:"):
                return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return None


def emmc(blocks: Path) -> Iterator[tuple[str, str]]:
    """Each eMMC with the part of its life that it says is used (types A and B of its memory)."""
    for found in sorted(blocks.glob("mmcblk*/device/life_time")):
        try:
            parts = [int(word, 16) for word in found.read_text(encoding="ascii").split()]
        except (OSError, ValueError):
            continue
        yield found.parents[1].name, ", ".join(EMMC_TENTHS.get(part, f"{part * 10 - 10} to {part * 10} %") for part in parts)
