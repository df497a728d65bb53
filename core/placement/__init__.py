"""Where shards should be: who may have them, who gets them, and what moves. Pure functions."""
