"""The knowledge graph: a store that never forgets, the formats it reads, its index of names, and its embeddings."""
