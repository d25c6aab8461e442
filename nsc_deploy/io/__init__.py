"""Files, read with distrust and replaced whole or not at all."""
