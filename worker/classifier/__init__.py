"""The model: texts to token ids, token ids to twelve probabilities.

This package knows weights, devices and tokenizers. It must not know a topic, an offset or a policy. Read
``scoring.py`` first. Importing this package imports torch, which takes seconds, so import it only to load a model.
"""

from worker.classifier.fetch import fetch
from worker.classifier.loading import ModelOptions, load
from worker.classifier.scoring import Classifier
from worker.classifier.tokenizer import EncodedText

__all__ = ["Classifier", "EncodedText", "ModelOptions", "fetch", "load"]
