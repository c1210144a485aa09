"""Text as people write it out of tokenised corpora, and back: invertible de-tokenisers.

"We use invertible de-tokenizers … Since these de-tokenizers are invertible, we can still calculate the log probability
of a dataset" (Radford et al. 2019, sec. 3.1); theirs were not published. Of a line that ours cannot put back exactly as
it was, the tokenised form is used: what is scored always says which line it was.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

_ENDS = r"[.,;:!?%)\]}]"
_ABBREVIATIONS = (
    "mr mrs ms dr st jr sr no vs vol gen col capt lt sgt maj adm gov rep sen rev hon prof mt ft co inc corp ltd bros "
    "etc jan feb mar apr jun jul aug sep sept oct nov dec u.s u.k a.m p.m ph.d e.g i.e c ca cf al ed eds op pp p"
)


@dataclass(frozen=True)
class Detokeniser:
    """`forward` makes running text of a tokenised line, `back` undoes it where that can be undone."""

    name: str
    forward: Callable[[str], str]
    back: Callable[[str], str]

    def checked(self, line: str) -> tuple[str, bool]:
        """(what is scored, whether it is running text): the line itself where there is no way back to it."""
        text = self.forward(line)
        return (text, True) if self.back(text) == line else (line, False)


# -- WikiText: Moses' marks ------------------------------------------------------------------------------------------


def wikitext(line: str) -> str:
    """WikiText's line (Merity et al. 2017, sec. 4.3) as text.

    >>> wikitext("It 's a 1 @.@ 5 @-@ mile ( 2 km ) road , \\" the road \\" .")
    'It\\'s a 1.5-mile (2 km) road, "the road".'
    """
    line = re.sub(r" @([-,.])@ ", r"\1", line)
    line = re.sub(r" '(s|t|re|ve|ll|d|m)(?= |$)", r"'\1", line)
    line = re.sub(r'(^| )" ([^"]*?) "(?= |$)', r'\1"\2"', line)
    line = re.sub(r"([(\[{$£€]) ", r"\1", line)
    return re.sub(rf" (?=(?:{_ENDS}|\.\.\.)(?:[\s\"')\]]|{_ENDS}|$))", "", line)


def from_wikitext(text: str) -> str:
    """Inverse of `wikitext`."""
    text = re.sub(r"(?<=[\d>])([,.])(?=[\d<])", r" @\1@ ", text)
    text = re.sub(r"(?<=[\w>.])-(?=[\w<.])", " @-@ ", text)
    text = re.sub(r"(?<=\S)'(s|t|re|ve|ll|d|m)(?![\w'])", r" '\1", text)
    text = re.sub(r'(^|[ (\[{$£€])"([^"]*?)"(?=[^\w"]|$)', r'\1" \2 "', text)
    text = re.sub(r"([(\[{$£€])(?=\S)", r"\1 ", text)
    return re.sub(rf"(?<=\S)(\.\.\.|{_ENDS})(?=[\s\"')\]]|{_ENDS}|$)", _apart, text)


def _apart(match: re.Match[str]) -> str:
    """A mark with a space before it, but for the full stop of an abbreviation or an initial."""
    word = match.string[: match.start()].rsplit(" ", 1)[-1].lstrip("(\"'[")
    short = word.casefold() in _ABBREVIATIONS.split() or re.fullmatch(r"[A-Z]|(\w\.)+\w", word)
    return match[1] if match[1] == "." and short else f" {match[1]}"


# -- Penn Treebank's marks: PTB (Mikolov et al. 2010), Children's Book Test -----------------------------------------


def treebank(line: str) -> str:
    """A line of tokens in the Penn Treebank's manner as text.

    >>> treebank("`` I do n't know -LRB- yet -RRB- , '' he said ; it 's $ N , or N % .")
    '"I don\\'t know (yet)," he said; it\\'s $N, or N%.'
    """
    line = line.replace("-LRB-", "(").replace("-RRB-", ")")
    line = re.sub(r"(^| |\()`` ", r'\1"', line)
    line = re.sub(r" ''(?=\s|$)", '"', line)
    line = re.sub(r"(?<=[\w>.]) (n't|'(?:s|re|ve|ll|d|m))(?=\s|$)", r"\1", line)
    line = re.sub(r"([($#]) ", r"\1", line)
    return re.sub(rf" (?={_ENDS}(?:[\s\"')]|{_ENDS}|$))", "", line)


def from_treebank(text: str) -> str:
    """Inverse of `treebank`."""
    text = re.sub(r"([($#])(?=\S)", r"\1 ", text)
    text = re.sub(r'(^|[ (])"(?=\S)', r"\1`` ", text)
    text = re.sub(r"(?<=[\w>.])(n't|'(?:s|re|ve|ll|d|m))(?![\w'])", r" \1", text)
    text = re.sub(rf"(?<=\S)({_ENDS})(?=[\s\"')]|{_ENDS}|$)", _apart, text)
    text = re.sub(r'(?<=[^\s`])"', " ''", text)
    return text.replace("(", "-LRB-").replace(")", "-RRB-")


WIKITEXT = Detokeniser("wikitext", wikitext, from_wikitext)
TREEBANK = Detokeniser("treebank", treebank, from_treebank)
