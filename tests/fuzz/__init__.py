"""Bytes of any kind for everything that reads bytes: `readers.py` says what reads, `make fuzz` tries it, guided by coverage."""
