"""The commands that the pages document: read, checked, tried in a scratch copy, listed."""
