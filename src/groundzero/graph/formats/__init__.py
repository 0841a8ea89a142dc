"""Files to graphs and back: each format is a stream of typed rows in bounded memory, and a report of what was left out.

bytes -> `reading` (compression, encoding) -> one module a format -> `rows` -> `graph.importing` -> a store.
"""
