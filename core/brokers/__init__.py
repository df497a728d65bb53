"""What the leader knows of brokers beside the catalog: who is alive, and what they report."""
