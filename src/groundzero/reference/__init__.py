"""The readable twin: every layer of the product once more, in NumPy and the standard library, gradients by hand.

It is the oracle that the fast parts are tested against, and the lesson for those who want to see how they work. Nothing
here imports PyTorch or any other part of groundzero. Each module runs as a demonstration; in the order of learning:

    tokenizer      text to whole numbers (split.py: text to words)
    module         parameters, modules, and what a gradient is
    activations    the bends between linear maps; softmax
    layers         linear maps, embeddings, norms, dropout, positions
    attention      tokens look at each other
    transformer    blocks, stacks, and blocks that read facts
    optimizer      how gradients become learning (roles.py: which parameter is updated how)
    model          the whole GPT: config.py, loss, and writing
    training       the loop that all the rest is for
    knowledge      facts as vectors, and copying names instead of spelling them
    islands        facts in the prompt, without an order
    lora           teaching a trained model by changing almost nothing
    quantize       making a trained model small
    utils          batches and checkpoints (safetensors.py: the file format)

`python -m groundzero.reference` prints this list.
"""
