"""Consensus: a sans-I/O RAFT core in the manner of etcd's.

`core.RaftCore` takes messages, ticks, proposals and read requests, and returns a `ready.Ready`:
what to send, what to write to disk, what to apply, which reads may go on.
"""
