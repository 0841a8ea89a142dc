"""All bugs to be sown, one at a time: the tests must notice every one.

A bug is an exact piece of source and what to put in its place. Where the source has changed and the piece no longer
occurs exactly once, the table must follow (`test_bugs.py` says so at once).
"""

from __future__ import annotations

from tests.mutation.bugs_of_knowledge import KNOWLEDGE_BUGS
from tests.mutation.bugs_of_layers import LAYER_BUGS
from tests.mutation.bugs_of_models import MODEL_BUGS
from tests.mutation.bugs_of_pytorch import PYTORCH_BUGS
from tests.mutation.bugs_of_training import TRAINING_BUGS

BUGS = LAYER_BUGS + MODEL_BUGS + TRAINING_BUGS + PYTORCH_BUGS + KNOWLEDGE_BUGS
