"""Control: hands on the show. Everything here parses, checks and posts; nothing here applies."""
