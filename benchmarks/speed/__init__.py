"""How fast datk is, in ratios that are measured side by side: `python -m benchmarks.speed --all`."""
