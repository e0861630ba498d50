"""Commands that train, evaluate and encode, and the code only they use."""
