"""The error tree."""

from agent.fieldbus.errors import BusError, BusException, BusTemporary, BusTimeout, BusUrlError


def test_exception_names_where_code_and_meaning() -> None:
    error = BusException("tcp://h:502 device 3", 2)
    assert error.code == 2
    assert str(error) == "tcp://h:502 device 3: Modbus exception 2 (illegal data address)"
    assert "not in the standard" in str(BusException("x", 99))


def test_only_configuration_mistakes_are_not_temporary() -> None:
    assert issubclass(BusTimeout, BusTemporary)
    assert not issubclass(BusUrlError, BusTemporary)
    assert issubclass(BusUrlError, BusError)
