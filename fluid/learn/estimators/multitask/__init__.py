"""A network of all tasks, trained jointly: sparse features, one hidden layer, an output each.

`training` needs PyTorch; predicting does not.
"""
