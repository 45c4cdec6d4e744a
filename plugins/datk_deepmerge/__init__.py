"""Shipped plugin: the backbones of DeepMerge II and a perceptron."""
