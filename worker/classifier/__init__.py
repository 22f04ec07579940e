"""The model: texts to token ids, token ids to twelve probabilities; knows no offsets and no topics.

Importing this package imports torch, which takes seconds: import it when a model is wanted.
"""

from worker.classifier.fetch import fetch
from worker.classifier.loading import ModelOptions, load
from worker.classifier.scoring import Classifier
from worker.classifier.tokenizer import EncodedText

__all__ = ["Classifier", "EncodedText", "ModelOptions", "fetch", "load"]
