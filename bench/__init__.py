"""Measures this machine: every figure beside the floor it is a ratio of, taken in the same run."""
