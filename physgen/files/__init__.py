"""Reading and writing event files."""
