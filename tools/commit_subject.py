"""Check of commit subjects: imperative, at most 72 characters, a capital first, no full stop at the end.

python -m tools.commit_subject FILE    check the message in a file, as git's hook commit-msg passes it
python -m tools.commit_subject         check the commits of HEAD that follow the base
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BASE = "Move modules into the rooms of the new tree"
"""Subject of the last commit that was written before the rule."""

LENGTH_MAX = 72
# Written by git itself.
GENERATED = ("Merge ", 'Revert "', "fixup! ", "squash! ", "amend! ")
# Words that begin a noun phrase or a clause, our own nouns included.
NOT_VERBS = (
    "a an the this that these those it its i we you they he she my our your their his her there here "
    "no not nothing none one two three four five six seven eight nine ten each every all some any both more most "
    "fewer less many much few several new old what which who when where why how whether if while after before "
    "of in on at by for from with without to into as and or but so also now then still only "
    "activity adapter broker changelog client code command decision engine event kafka processor readme record shard "
    "signal store task timer topic worker workflow"
)
# Imperatives that end as another form does.
IMPERATIVES = (
    "alias bias bring canvas embed exceed feed focus heed need ping proceed ring seed shed shred speed string succeed "
    "weed"
)


def main(arguments: Sequence[str]) -> int:
    """Print a sentence for each fault; the exit code is 1 if there are any."""
    subjects = [subject_of(Path(arguments[0]).read_text("utf-8"))] if arguments else subjects_since(BASE, ROOT)
    faults = [f"{subject!r}: {fault}" for subject in subjects for fault in faults_of(subject)]
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


def faults_of(subject: str) -> Iterator[str]:
    """What is wrong with a subject, a sentence for each fault."""
    if subject.startswith(GENERATED):
        return
    if len(subject) > LENGTH_MAX:
        yield f"the subject has {len(subject)} characters; write at most {LENGTH_MAX}"
    if subject.endswith("."):
        yield "the subject ends in a full stop; leave it out"
    word, _, rest = subject.partition(" ")
    if not rest.strip():
        yield "the subject is one word; write what changes, and where"
    elif not re.fullmatch(r"[A-Za-z][a-z]*(-[a-z]+)*", word):
        yield f"the subject begins with {word!r}; begin with a verb"
    elif not word[0].isupper():
        yield f"the subject begins with a small letter; write {word.capitalize()!r}"
    elif not is_imperative(word):
        yield f"the subject begins with {word!r}, which is no imperative; write it as an instruction, such as 'Add …'"


def is_imperative(word: str) -> bool:
    """True unless the word is known to begin a noun phrase, or ends as a past, a participle or a third person does."""
    small = word.lower()
    if small in NOT_VERBS.split():
        return False
    third_person = small.endswith("s") and not small.endswith("ss")
    return small in IMPERATIVES.split() or not (third_person or small.endswith(("ed", "ing", "tion", "ness")))


def subject_of(message: str) -> str:
    """The first line of a message that is neither empty nor a comment of git's."""
    lines = (line.rstrip() for line in message.splitlines())
    return next((line for line in lines if line and not line.startswith("#")), "")


def subjects_since(base: str, repository: Path) -> list[str]:
    """Subjects of the commits that follow the one with the subject `base`, the newest first, without merges.

    Where that commit is absent, a shallow clone holds only commits that follow it: all are checked. In any other
    history it is HEAD alone; without a history, nothing.
    """
    if not (repository / ".git").exists():
        return []
    found = [line.partition(" ") for line in _git(repository, "log", "--no-merges", "--format=%H %s").splitlines()]
    bases = [number for number, _, subject in found if subject == base]
    if bases:
        return _git(repository, "log", "--no-merges", "--format=%s", f"{bases[0]}..HEAD").splitlines()
    shallow = _git(repository, "rev-parse", "--is-shallow-repository").strip() == "true"
    return [subject for _, _, subject in (found if shallow else found[:1])]


def _git(repository: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(repository), *arguments], capture_output=True, text=True, check=True, encoding="utf-8"
    )
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
