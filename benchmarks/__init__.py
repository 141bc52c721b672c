"""How fast we are, as ratios against the obvious alternative, interleaved in one run: `python -m benchmarks`."""
