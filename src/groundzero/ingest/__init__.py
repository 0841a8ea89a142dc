"""From text to candidate statements, each with the place it was read from."""
