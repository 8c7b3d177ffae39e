"""C kernels, how they are built, and the factorisation that needs only them."""
