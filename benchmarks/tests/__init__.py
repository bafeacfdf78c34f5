"""Whether the benchmarks work; what they measure is no matter here."""
