"""What the program can be told by flags and variables of its environment."""
