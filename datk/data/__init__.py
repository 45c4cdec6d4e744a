"""From a pair to the batches of a step."""
