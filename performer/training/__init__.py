"""Training: from a folder of pictures to a species. Never imported by play."""
