"""What a console shows, as lines of plain text, whatever bytes it sends."""

from __future__ import annotations

import codecs
import re

WIDEST = 1024  # characters; a longer line is folded, so that one that never ends is held nowhere

# A sequence that the bytes so far only begin waits for the rest of it. One that never becomes a
# sequence loses its first characters and is shown: garbage must not swallow what follows.
_TOKEN = re.compile(
    r"""
      (?P<text> [^\x00-\x07\x0a-\x1f\x7f-\x9f]+ )             # with \b and \t
    | (?P<lf> \n )
    | (?P<cr> \r )
    | (?P<begun> \x1b (?: \[ [0-?]{0,32} [ -/]{0,4}
                        | [\]PX^_] [^\x07\x1b\r\n]{0,256} \x1b?
                        | [ -/]{1,4} )? \Z )
    | (?P<question> \x1b \[ 6n )                              # where is the cursor?
    | (?P<move> \x1b \[ [0-?]{0,32} [ABEFGHdf] )              # to another line or column
    | (?P<control> \x1b \[ [0-?]{0,32} [ -/]{0,4} [@-~]       # ECMA-48, 5.4
                 | \x1b [\]PX^_] [^\x07\x1b\r\n]{0,256} (?: \x07 | \x1b\\ )
                 | \x1b [ -/]{0,4} [0-~] )
    | (?P<other> [\s\S] )
    """,
    re.VERBOSE,
)


class Cleaner:
    r"""Text out of the bytes of a console, the same however they are cut.

    Control sequences and control characters are gone, but for tabs and backspaces. Whatever
    ends a line (CR, LF, CR CR LF, a cursor moved elsewhere) is one `\n`: what is drawn over a line
    is a line of its own. UTF-8 that is none becomes U+FFFD. `questions` counts how often the
    terminal was asked where its cursor is.
    """

    def __init__(self) -> None:
        self.questions = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._begun = ""
        self._column = 0
        self._ended = False

    def feed(self, data: bytes) -> str:
        text = self._begun + self._decoder.decode(data)
        self._begun = ""
        return "".join(self._shown(token) for token in _TOKEN.finditer(text))

    def _shown(self, token: re.Match[str]) -> str:
        match token.lastgroup:
            case "text":
                return self._folded(token[0])
            case "lf":
                ended, self._ended = self._ended, False
                self._column = 0
                return "" if ended else "\n"
            case "cr" | "move":
                return self._broken()
            case "begun":
                self._begun = token[0]
            case "question":
                self.questions += 1
        return ""

    def _folded(self, run: str) -> str:
        self._ended = False
        room = WIDEST - self._column
        if len(run) <= room:
            self._column += len(run)
            return run
        pieces = [run[:room], *(run[at : at + WIDEST] for at in range(room, len(run), WIDEST))]
        self._column = len(pieces[-1])
        return "\n".join(pieces)

    def _broken(self) -> str:
        if not self._column:
            return ""
        self._column = 0
        self._ended = True
        return "\n"


def struck(line: str) -> str:
    r"""`line` as it looks after its backspaces: a spinner (`|\b/\b-\b`) leaves nothing."""
    if "\b" not in line:
        return line
    shown: list[str] = []
    for character in line:
        if character != "\b":
            shown.append(character)
        elif shown:
            shown.pop()
    return "".join(shown)
