"""StatusInfoType: why an answer is not a plain yes."""

from agent.ocpp_client.adapter import JsonObject

_MAX_REASON_CODE = 20
_MAX_ADDITIONAL_INFO = 512


def status_info(reason_code: str, additional_info: str = "") -> JsonObject:
    """A reason code of appendix 5 (or a status word) with a sentence for people."""
    info = {"reasonCode": reason_code[:_MAX_REASON_CODE]}
    if additional_info:
        info["additionalInfo"] = additional_info[:_MAX_ADDITIONAL_INFO]
    return info
