"""What both programs must agree on: names on the wire and the resources that both read.

Everything here is pure: values in, values out; no clock, no I/O, no logging.
"""
