"""The REST service and the command line around `posneg.models`."""
