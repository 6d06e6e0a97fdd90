"""What every program needs as a process: settings declared once, logging, ports beside its work.

A program passes in its settings and loggers; nothing here knows what any of them is for.
"""
