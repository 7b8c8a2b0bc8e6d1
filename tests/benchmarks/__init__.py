"""Speed and size of the daemon beside references that are measured in the same run: `python -m tests.benchmarks`."""
