"""The shared language: schema, clock, settings, errors, log, board. Imports nothing of ours."""
