"""What every program needs as a process: settings declared once, logging, ports beside its work.

A program gives the settings and the loggers; nothing here knows what any of them is for.
"""
