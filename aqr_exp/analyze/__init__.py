"""Numbers and pictures of the method; `softmax` needs only numpy, the others the training packages."""
