"""Speed and memory beside the peers, each a command that prints a table: `python -m benchmarks NAME [--json]`.

A benchmark is a module here with `measure(options) -> list[Row]`. Ours and the peer run in the same process or the
same minute, turn and turn about, so that a busy machine slows both; the figure is the ratio of medians.
"""
