"""The replicated state machine: commands in, results and updates out; and everything one may ask
it. Deterministic: replicas that applied the same log are identical, byte for byte.
"""
