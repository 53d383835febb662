"""Ears: feeds, decoders and the guard. Listens and hands on; answers nobody."""
