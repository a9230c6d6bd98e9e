"""Sends releases to a dataset repository of the Hugging Face Hub, each under a tag of its own.

A commit is atomic there, and no clip's path ever has other content, so `main` holds a whole release
at every moment: clips are added first, and the last commit puts index, card and manifest in their
place and takes away what only the release before had. Older tags keep theirs.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils.sha import git_hash

from pipeline.hub import (
    IGNORED,
    OURS,
    changed_since,
    clip_files,
    other_dataset,
    release_files,
    stored_file,
)
from pipeline.hub_patience import SILENCE_S, patiently
from schemas.errors import PublishError, ReleaseError
from schemas.release import MANIFEST_NAME, Publication, PublishPlan, Release
from schemas.store import StoredFile

Report = Callable[[int, int, str], None]
"""Takes files done, files in all, and a word on the latest."""

Listing = dict[str, RepoFile]
"""What the Hub holds under a revision, by path."""

KIND = "dataset"

MAIN = "main"

BATCH_FILES = 256
"""Of one commit: as many as the Hub's client asks for upload addresses of at once."""

BATCH_BYTES = 2**29
"""Of one commit: what a line of 10 Mbit/s sends in seven minutes."""

STORE_DEPTH = 3
"""Names of a path down to a clip's store."""

SHOWN_PATHS = 3


@dataclass(frozen=True)
class Parcelled:
    """A file of a release: where it lies here, and what it is."""

    source: Path
    file: StoredFile
    """By its path in the repository."""


class HubSender:
    """Sends one release to a dataset repository, and tags it when all of it has arrived.

    Everything it does can be done again: after a fault, or in another process after a kill, what
    has arrived is found and not sent a second time.
    """

    def __init__(
        self,
        release: Release,
        source: Path,
        clips_root: Path,
        repository: str,
        *,
        api: HfApi | None = None,
        silence_s: float = SILENCE_S,
    ) -> None:
        """Prepare sending `release`, its folder `source`, its stores below `clips_root`.

        Raises:
            PublishError: a clip is not what the release lists.
        """
        self._release = release
        self._repository = repository
        self._api = api or HfApi(library_name="twinband")
        self._silence_s = silence_s
        clips = [
            Parcelled(
                clips_root / clip.store / file.path,
                file.model_copy(update={"path": f"{clip.store}/{file.path}"}),
            )
            for clip in release.clips
            for file in clip_files(clip, clips_root)
        ]
        rest = [Parcelled(source / file.path, file) for file in release_files(release, source)]
        self._all = [*clips, *rest]
        self._paths = {one.file.path for one in self._all}
        self._begun: PublishPlan | None = None
        self._commits = 0

    def plan(self) -> PublishPlan:
        """What sending would do; asks the Hub, and changes nothing there.

        Raises:
            PublishError: what `send` would refuse before it sends anything.
        """
        return patiently(self._planned, self._repository, self._steps, self._silence_s)

    def send(self, report: Report, *, is_private: bool = True) -> Publication:
        """Bring over what is missing, then make the tag.

        Args:
            report: told of every batch of files.
            is_private: of a repository that has to be made; one that is there stays what it is.

        Raises:
            PublishError: the tag stands for other content, the repository holds something else,
                the Hub refuses or keeps failing, or a clip is not what the release lists.
        """

        def send_once() -> PublishPlan:
            return self._sent(report, is_private=is_private)

        plan = patiently(send_once, self._repository, self._steps, self._silence_s)
        stores = {path.split("/")[STORE_DEPTH - 1] for path in plan.remove if _is_store(path)}
        return Publication(
            version=plan.version,
            destination=plan.destination,
            files_sent=len(plan.send),
            bytes_sent=plan.bytes_to_send,
            files_kept=plan.files_kept,
            clips_removed=len(stores),
        )

    def _steps(self) -> int:
        return self._commits

    def _planned(self) -> PublishPlan:
        try:
            there = self._looked()
        except RepositoryNotFoundError:
            return self._plan_from(self._all, [], is_new=True)
        return self._plan_from(*self._left(there))

    def _sent(self, report: Report, *, is_private: bool) -> PublishPlan:
        """All of it, from looking what is there to the tag; raises what may pass as it comes."""
        try:
            there = self._looked()
        except RepositoryNotFoundError:
            self._api.create_repo(
                self._repository, repo_type=KIND, private=is_private, exist_ok=True
            )
            there = self._looked()
        missing, strays = self._left(there)
        # of several tries, the first knows what had to be done
        self._begun = self._begun or self._plan_from(missing, strays)
        if there is None:
            return self._begun
        done = len(self._all) - len(missing)
        for batch in batches(one for one in missing if _is_store(one.file.path)):
            self._commit(batch)
            done += len(batch)
            report(done, len(self._all), batch[-1].file.path)
        head = str(self._api.repo_info(self._repository, repo_type=KIND, revision=MAIN).sha)
        missing, strays = self._left(self._listed(head))
        if missing or strays:
            head = self._commit(missing, strays, parent=head)
            self._check(head)
        report(len(self._all), len(self._all), "tag")
        self._api.create_tag(
            self._repository, tag=self._release.version, revision=head, repo_type=KIND
        )
        return self._begun

    def _looked(self) -> Listing | None:
        """What `main` holds; None where the release is tagged already.

        Raises:
            PublishError: the tag stands for other content, or the repository for something else.
            RepositoryNotFoundError: there is none, or none that this user may see.
        """
        refs = self._api.list_repo_refs(self._repository, repo_type=KIND)
        for tag in refs.tags:
            if tag.name == self._release.version:
                there = self._listed(tag.target_commit)
                if differing := self._differing(there):
                    raise PublishError(
                        f"{self._repository} has a tag {tag.name} that stands for other content "
                        f"({_shown(differing)}); a tag is never moved, release the next version"
                    )
                return None
        there = self._listed(MAIN)
        self._refuse_foreign(there)
        return there

    def _refuse_foreign(self, there: Listing) -> None:
        """Make sure that nothing in the repository is anybody else's."""
        foreign = [path for path in there if not _is_ours(path)]
        if foreign:
            raise PublishError(
                f"{self._repository} holds {_shown(foreign)}, which no release put there; name "
                "another repository, or take that away first"
            )
        if MANIFEST_NAME not in there:
            return
        try:
            standing = Release.read(self._content(MANIFEST_NAME))
        except ReleaseError as error:
            raise PublishError(
                f"{self._repository} holds a {MANIFEST_NAME} that is none of ours or damaged: "
                f"{error}; name another repository"
            ) from error
        if standing.dataset.name != self._release.dataset.name:
            raise other_dataset(self._repository, standing, self._release)

    def _content(self, path: str) -> bytes:
        """A file of `main` as it is at this moment."""
        with TemporaryDirectory() as folder:
            kept = self._api.hf_hub_download(
                self._repository, path, repo_type=KIND, revision=MAIN, local_dir=folder
            )
            return Path(kept).read_bytes()

    def _listed(self, revision: str) -> Listing:
        entries = self._api.list_repo_tree(
            self._repository, recursive=True, revision=revision, repo_type=KIND
        )
        return {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}

    def _plan_from(
        self, missing: Sequence[Parcelled], strays: Sequence[str], *, is_new: bool = False
    ) -> PublishPlan:
        return PublishPlan(
            version=self._release.version,
            destination=self._repository,
            is_new=is_new,
            send=tuple(one.file for one in missing),
            remove=tuple(strays),
            files_kept=len(self._all) - len(missing),
        )

    def _left(self, there: Listing | None) -> tuple[list[Parcelled], list[str]]:
        """What is missing, and what only the release before had; the Hub's own files stay.

        Args:
            there: what is held; None: the whole release.
        """
        if there is None:
            return [], []
        missing = [one for one in self._all if not self._is_there(there, one)]
        others = there.keys() - self._paths
        return missing, sorted(path for path in others if not IGNORED.fullmatch(path))

    def _is_there(self, there: Listing, one: Parcelled) -> bool:
        found = there.get(one.file.path)
        if found is None or found.size != one.file.size_bytes:
            return False
        if found.lfs is not None:
            return bool(found.lfs.sha256 == one.file.sha256)
        # small files are git's own, which knows them by another hash
        content = one.source.read_bytes()
        if (sha256 := hashlib.sha256(content).hexdigest()) != one.file.sha256:
            raise changed_since(one.source, one.file, sha256, self._release.version)
        return bool(found.blob_id == git_hash(content))

    def _differing(self, there: Listing) -> list[str]:
        missing, strays = self._left(there)
        return [*(one.file.path for one in missing), *strays]

    def _commit(
        self, files: Sequence[Parcelled], strays: Sequence[str] = (), parent: str | None = None
    ) -> str:
        """Upload files and commit them, with what goes; the commit's identity."""
        additions = []
        for one in files:
            found = stored_file(one.source, one.file.path)
            if found != one.file:
                raise changed_since(one.source, one.file, found.sha256, self._release.version)
            additions.append(CommitOperationAdd(one.file.path, str(one.source)))
        # of equal files the client would send each; those that come later find the first
        firsts = {one.file.sha256: add for one, add in zip(files, additions, strict=True)}
        if len(firsts) < len(files):
            self._api.preupload_lfs_files(
                self._repository, firsts.values(), repo_type=KIND, free_memory=False
            )
        made = self._api.create_commit(
            self._repository,
            [*additions, *(CommitOperationDelete(path, is_folder=False) for path in strays)],
            commit_message=f"{self._release.version}: {len(files)} files",
            repo_type=KIND,
            parent_commit=parent,
        )
        self._commits += 1
        return made.oid

    def _check(self, commit: str) -> None:
        """Compare what the Hub holds with what the manifests list, file by file."""
        if differing := self._differing(self._listed(commit)):
            raise PublishError(
                f"{self._repository} took all files and does not hold {_shown(differing)} as sent, "
                "so no tag was made; look for a .gitignore in the repository, then publish again"
            )


def batches(files: Iterable[Parcelled]) -> Iterator[list[Parcelled]]:
    """The same in order, in lists of at most BATCH_FILES and, if of several, BATCH_BYTES."""
    batch: list[Parcelled] = []
    size_bytes = 0
    for one in files:
        size_bytes += one.file.size_bytes
        if batch and (len(batch) == BATCH_FILES or size_bytes > BATCH_BYTES):
            yield batch
            batch, size_bytes = [], one.file.size_bytes
        batch.append(one)
    if batch:
        yield batch


def _is_ours(path: str) -> bool:
    return bool(OURS.fullmatch(path) or _is_store(path) or IGNORED.fullmatch(path))


def _is_store(path: str) -> bool:
    """Whether a file lies in a clip's store."""
    names = path.split("/")
    return len(names) > STORE_DEPTH and bool(OURS.fullmatch("/".join(names[:STORE_DEPTH])))


def _shown(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - SHOWN_PATHS} more" if len(paths) > SHOWN_PATHS else ""
    return f"{', '.join(paths[:SHOWN_PATHS])}{more}"
