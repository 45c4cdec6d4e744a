"""One run: its folder, its result, how it goes. The only reader of target labels."""
