"""Errors that cross package borders.

AgentError
├── HalError          the hardware or its driver failed (the world's fault, mostly temporary)
├── StoreError        the disk or the database failed
└── PeerError         the CSMS or another peer broke its protocol
"""


class AgentError(Exception):
    """Base of the errors that one part of the agent may catch from another."""


class HalError(AgentError):
    """The hardware or its driver failed."""


class StoreError(AgentError):
    """The disk or the database failed; the sentence names the file and what the technician can do."""


class PeerError(AgentError):
    """A peer broke its protocol."""
