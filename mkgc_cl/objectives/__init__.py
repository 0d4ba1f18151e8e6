"""The mathematics of the method as pure functions: tensors in, tensors out."""
