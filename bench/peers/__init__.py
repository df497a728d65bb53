"""Other systems doing the same work, each with a client that does not cost it throughput."""
