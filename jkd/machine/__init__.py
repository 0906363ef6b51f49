"""The machine beneath: files that survive their writer, archives, signals, and what it refuses."""
