"""C for microcontrollers: whole programs in integers, without heap, verified bit for bit."""
