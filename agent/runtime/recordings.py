"""What the technician's socket says and does about flight recordings: list, freeze, and hand out piece by piece."""

from binascii import b2a_base64
from typing import Final

from agent.diagnostics.protocol import Json, Method, Param, Params, ParamType, Role
from agent.runtime.dead_letters import Words
from agent.runtime.recorder import MOST_BYTES, Recorder, Recording

PIECE: Final = 32 * 1024
_WHY = Param(name="detail", type=ParamType.STRING, description="a few words that stand in the file: what was seen or heard")
_RECORDING = Param(name="name", type=ParamType.STRING, description="name of a recording, as `recorder` lists it", required=True)
_OFFSET = Param(name="offset", type=ParamType.INTEGER, description="first byte; 0 where absent", minimum=0, maximum=4 * MOST_BYTES)
DETAIL_CHARS: Final = 500


class Recordings:
    """The methods `recorder` and `recorder.*`."""

    def __init__(self, recorder: Recorder, words: Words) -> None:
        self._recorder, self._words = recorder, words

    def methods(self) -> tuple[Method, ...]:
        """For the table of methods."""
        return (
            Method(name="recorder", summary="Flight recordings on disk, the newest first.", call=self.list),
            Method(
                name="recorder.freeze",
                summary="Write the last minute to a recording that stays.",
                call=self.freeze,
                params=(_WHY,),
                role=Role.TECHNICIAN,
            ),
            Method(
                name="recorder.read",
                summary=f"{PIECE} bytes of a recording.",
                call=self.read,
                params=(_RECORDING, _OFFSET),
                role=Role.TECHNICIAN,
            ),
        )

    async def list(self, _: Params) -> Json:
        """What there is."""
        return {
            "directory": str(self._recorder.directory),
            "written_bytes": self._recorder.written_bytes,
            "dropped": self._recorder.dropped,
            "recordings": [self._recording(one) for one in reversed(await self._recorder.recordings())],
        }

    def _recording(self, one: Recording) -> Json:
        return {
            "name": one.name,
            "size": one.size,
            "is_frozen": one.is_frozen,
            "cause": one.cause,
            "detail": one.detail,
            "at": None if one.at is None else self._words.time(one.at),
            "problem": one.problem,
        }

    async def freeze(self, params: Params) -> Json:
        """Freeze now."""
        return {"name": await self._recorder.freeze_now(str(params.get("detail", ""))[:DETAIL_CHARS])}

    async def read(self, params: Params) -> Json:
        """A piece in base64; the last one is shorter than the others, or empty."""
        offset = int(str(params.get("offset", 0)))
        data, size = await self._recorder.read(str(params["name"]), offset, PIECE)
        return {"size": size, "data": b2a_base64(data, newline=False).decode()}
