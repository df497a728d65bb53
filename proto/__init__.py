"""What is said: every record that crosses a boundary, and the one codec that carries it.

Pure: nothing here reads a clock, opens a file or starts a thread.
"""
