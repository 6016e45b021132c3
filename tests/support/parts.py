# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry of the parts that a target's heap can be made of."""

USUAL = {}          # name -> function; what it returns is kept
ON_REQUEST = {}     # as well, but not part of "everything"


def builder(function):
    USUAL[function.__name__] = function
    return function


def on_request(function):
    ON_REQUEST[function.__name__] = function
    return function


def attempt(make, *args):
    """What make gives, None where this Python or machine cannot."""
    try:
        return make(*args)
    except (ImportError, AttributeError, NotImplementedError, OSError):
        return None
