"""The driver of bench/run. Python's standard library only."""
