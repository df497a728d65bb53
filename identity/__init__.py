"""Who is asking: tokens of identity providers in, Felix tokens out, and what a caller may do."""
