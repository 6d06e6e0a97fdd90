"""The settings that flags and environment variables give the program."""
