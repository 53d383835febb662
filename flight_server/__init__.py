"""The models' door: Arrow Flight, keys and tickets. Runs no SQL itself."""
