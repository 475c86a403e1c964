"""Programs that are not ours: found, fetched from Debian or built, and what mpy-cross compiles."""
