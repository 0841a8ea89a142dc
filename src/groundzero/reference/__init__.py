"""The readable twin: every layer of the product once more, in NumPy and the standard library.

It is the oracle that the fast parts are tested against, and the lesson for those who want to see how they work.
Nothing here imports PyTorch or any other part of groundzero. Each module runs as a demonstration:
`python -m groundzero.reference.tokenizer`.
"""
