"""From a question to an answer that proves itself: link, retrieve, reason, fuse, answer, verify."""
