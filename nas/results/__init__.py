"""What a search leaves behind: the run directory, the front, pictures and the report."""
