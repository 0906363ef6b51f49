"""Teachers: named, read and rated."""
