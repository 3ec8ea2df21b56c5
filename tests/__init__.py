"""Tests of eskit; a package so that ``python -m tests.benchmarks`` works from the checkout."""
