"""What `twinband watch` remembers of the sessions dropped for it."""

import datetime as dt
from typing import Literal

from pydantic import Field

from schemas.base import Sha256, Slug, StrictModel
from schemas.facts import Rejection

State = Literal["added", "built", "set-aside"]


class WatchedSession(StrictModel):
    """One session that was dropped."""

    folder: str = Field(description="Its name in the watched folder.")
    state: State
    contents: Sha256 = Field(description="Of names, sizes and times of its files when last seen.")
    since: dt.datetime
    reason: str | None = Field(None, description="Why it was set aside.")
    kept_in: str | None = Field(None, description="Where it was set aside, in the watched folder.")
    recordings: tuple[Slug, ...] = ()
    clips: tuple[Slug, ...] = ()
    rejected: tuple[Rejection, ...] = ()
    release: str | None = Field(None, description="The release made after it was built.")


class Watched(StrictModel):
    """All of them, by folder, the latest state of each."""

    sessions: tuple[WatchedSession, ...] = ()

    def of(self, folder: str) -> WatchedSession | None:
        """The session in a folder."""
        return next((one for one in self.sessions if one.folder == folder), None)

    def with_session(self, session: WatchedSession) -> "Watched":
        """The same with one session as it is now."""
        others = tuple(one for one in self.sessions if one.folder != session.folder)
        return Watched(sessions=(*others, session))
