"""`mpest flash`: firmware and application onto a board."""
