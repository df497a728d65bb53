"""What is decided: pure, deterministic code, without clock, thread, socket, file or chance."""
