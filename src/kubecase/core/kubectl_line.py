"""From a line of text to words, as a shell would take it apart, without one. Pure.

Quotes and backslashes are understood. Operators, substitutions and variables outside of single
quotes are refused, since an agent that writes one expects something to happen that will not.
"""

NO_SHELL = (
    "There is no shell: {what} is not possible. The arguments filter, head, tail and jsonpath do "
    "the work of grep, head, tail and jq; for several commands call the tool several times."
)

_OPERATORS = {
    "|": "a pipe", ";": "a second command", "&": "a second command", "<": "redirection",
    ">": "redirection", "(": "a subshell (put a jsonpath into quotes)",
    ")": "a subshell (put a jsonpath into quotes)", "`": "command substitution",
    "\n": "a second line", "\r": "a second line",
}  # fmt: skip


class NotPlain(ValueError):
    """A line that is not one plain command, with the sentence for whoever wrote it."""


def words_of(line: str) -> list[str]:
    """The words of one command; raises NotPlain."""
    reading = _Reading(line.strip())
    while reading.more():
        reading.step()
    return reading.end()


class _Reading:
    def __init__(self, line: str) -> None:
        self._line = line
        self._at = 0
        self._word: list[str] | None = None
        self._words: list[str] = []

    def more(self) -> bool:
        return self._at < len(self._line)

    def step(self) -> None:
        """Take the next character, or what is quoted from there."""
        char = self._line[self._at]
        self._at += 1
        if char in " \t":
            self._finish()
        elif char == "'":
            self._quoted_plainly()
        elif char == '"':
            self._quoted()
        elif char == "\\":
            self._add(self._escaped())
        else:
            self._refuse_shell(char)
            self._add(char)

    def end(self) -> list[str]:
        self._finish()
        return self._words

    def _add(self, text: str) -> None:
        if self._word is None:
            self._word = []
        self._word.append(text)

    def _finish(self) -> None:
        if self._word is not None:
            self._words.append("".join(self._word))
            self._word = None

    def _quoted_plainly(self) -> None:
        end = self._line.find("'", self._at)
        if end < 0:
            raise NotPlain("A single quote is not closed.")
        self._add(self._line[self._at : end])
        self._at = end + 1

    def _quoted(self) -> None:
        self._add("")
        while True:
            if not self.more():
                raise NotPlain("A double quote is not closed.")
            char = self._line[self._at]
            self._at += 1
            if char == '"':
                return
            if char == "\\" and self._line[self._at : self._at + 1] in {'"', "\\", "$", "`"}:
                char = self._escaped()
            elif char == "`" or (char == "$" and self._is_variable()):
                raise NotPlain(NO_SHELL.format(what="substitution"))
            self._add(char)

    def _escaped(self) -> str:
        if not self.more():
            raise NotPlain("The line ends in a backslash.")
        self._at += 1
        return self._line[self._at - 1]

    def _refuse_shell(self, char: str) -> None:
        what = _OPERATORS.get(char)
        if char == "$" and self._is_variable():
            what = "substitution"
        if char == "#" and self._word is None:
            what = "a comment"
        if char == "~" and self._word is None:
            what = "a home directory"
        if what is not None:
            raise NotPlain(NO_SHELL.format(what=what))

    def _is_variable(self) -> bool:
        following = self._line[self._at : self._at + 1]
        return following.isalnum() or following in {"(", "{", "_", "?", "$", "!", "@", "*", "'"}
