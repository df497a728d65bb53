"""Who runs it: one thin Pykka actor per concern, and `node`, which starts and stops them."""
