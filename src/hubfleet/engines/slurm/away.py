"""What can go wrong between a hub and a login node, told apart by what it means for jobs. Needs nothing of SSH's."""

from __future__ import annotations


class LoginAway(Exception):
    """The login node could not be asked, which says nothing of any job. The text is for people.

    ``sent``: the command may have been carried out, in whole or in part.
    """

    sent = False


class Unreachable(LoginAway):
    """There is no connection."""


class WrongHostKey(LoginAway):
    """Another machine answers, or this one was installed anew. Nothing was sent to it."""


class NotLetIn(LoginAway):
    """It does not accept our key."""


class NoAnswer(LoginAway):
    """The command was sent, and what became of it is not known."""

    sent = True


class CommandFailed(Exception):
    """A command ended with another code than 0. ``said``: the end of its standard error."""

    def __init__(self, command: str, code: int, said: str) -> None:
        super().__init__(f"{command} ended with {code}: {said or 'without a word'}")
        self.code = code
        self.said = said
