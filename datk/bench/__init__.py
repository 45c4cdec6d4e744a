"""Many runs: suites and their tables."""
