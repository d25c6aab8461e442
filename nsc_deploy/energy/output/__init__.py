"""Reports as text, HTML, charts, notebook tables and the files that CI reads."""
