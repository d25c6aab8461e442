"""What each NIR primitive computes; `equations` states it, `registry` finds it."""
