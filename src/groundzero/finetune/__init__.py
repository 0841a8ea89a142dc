"""Teaching a trained model something further: what to learn from, and which of it. The trainer is `train/`'s.

conversations.py   files of instructions or dialogues -> conversations
packing.py         conversations -> rows, only the answers of which are learnt
loader.py          rows -> batches, as a pure function of the step
session.py         a run and conversations -> a tuned run
"""
