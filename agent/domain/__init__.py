"""The vocabulary that every part of the agent shares: types, events, effects, commands, notices. Standard library only."""
