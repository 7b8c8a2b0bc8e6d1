"""Values of `[variables]`: written by 2.x name or 1.6 key, judged by the registry."""

from collections.abc import Mapping

from agent.config.model import Cable, Config
from agent.core.variables import Variables, definitions
from agent.domain.commands import VariableAssignment
from agent.domain.errors import AgentError
from agent.domain.variables import Mutability, ValueSource, parse_variable_key


class VariableError(AgentError):
    """Values in `[variables]` that the registry refuses, one sentence each."""


def initial_variables(config: Config, *, sells: bool = True) -> Variables:
    """The registry of this station with the configuration's values. `sells`: public charging may be switched on. Raises VariableError."""
    table = definitions(
        evses=len(config.evse),
        security_profile=config.ocpp.security_profile,
        identity=config.station.id,
        is_tethered=config.evse[0].connector[0].cable is Cable.TETHERED,
        sells=sells,
    )
    variables, problems = assign_configured(Variables.of(table), config.variables)
    if problems:
        raise VariableError("; ".join(problems))
    return variables


def assign_configured(variables: Variables, given: Mapping[str, str]) -> tuple[Variables, tuple[str, ...]]:
    """Assign what the file gives; the sentences say what was refused."""
    by_1_6 = {d.key_1_6.casefold(): d.key for d in variables.definitions() if d.key_1_6 is not None}
    problems: list[str] = []
    for name, value in given.items():
        try:
            key = by_1_6.get(name.casefold()) or parse_variable_key(name)
        except ValueError as error:
            problems.append(str(error))
            continue
        definition = variables.definition(key)
        if definition is not None and definition.mutability is Mutability.READ_ONLY:
            problems.append(f"{name} is read-only")
            continue
        variables, results = variables.assign((VariableAssignment(key=key, value=value),), ValueSource.CONFIGURATION)
        problems.extend(f"{name}: {result.reason}" for result in results if result.reason)
    return variables, tuple(problems)
