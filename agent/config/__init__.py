"""The configuration file: what may stand in it (`model`), how it is read (`loader`), and the page that explains it (`reference`).

Only `agent.runtime` and `agent.__main__` import this package. It needs nothing but dataclasses and tomllib, so that
`--check` answers at once.
"""
