"""Running text out of tokenised corpora, and back again."""

from __future__ import annotations

import pytest

from seodang.evaluation.detokenise import TREEBANK, WIKITEXT

WIKI = {
    " It 's a 1 @.@ 5 @-@ mile ( 2 km ) road , \" the road \" . \n": " It's a 1.5-mile (2 km) road, \"the road\". \n",
    " They didn 't pay $ 25 @,@ 000 ; he did : <unk> @-@ based , as H. <unk> says . \n": (
        " They didn't pay $25,000; he did: <unk>-based, as H. <unk> says. \n"
    ),
    " = = Early life = = \n": " = = Early life = = \n",
    " Mr. Smith of the U.S. Army [ sic ] asked : why ? \n": " Mr. Smith of the U.S. Army [sic] asked: why? \n",
    " \n": " \n",
}
PENN = {
    "`` I do n't know -LRB- yet -RRB- , '' he said ; it 's $ N , or N % .": (
        '"I don\'t know (yet)," he said; it\'s $N, or N%.'
    ),
    " mr. <unk> is chairman of <unk> n.v. the dutch publishing group \n": (
        " mr. <unk> is chairman of <unk> n.v. the dutch publishing group \n"
    ),
    " we ca n't say they 're wrong <unk> said \n": " we can't say they're wrong <unk> said \n",
    " <unk> 's firm and the u.s. 's , says mr. <unk> \n": " <unk>'s firm and the u.s.'s, says mr. <unk> \n",
    "2 `` Well , '' said the Queen , `` I 'll ask her ! ''\n": '2 "Well," said the Queen, "I\'ll ask her!"\n',
}


@pytest.mark.parametrize(("tokenised", "text"), WIKI.items())
def test_wikitext_and_back(tokenised: str, text: str) -> None:
    assert WIKITEXT.forward(tokenised) == text
    assert WIKITEXT.back(text) == tokenised
    assert WIKITEXT.checked(tokenised) == (text, True)


@pytest.mark.parametrize(("tokenised", "text"), PENN.items())
def test_treebank_and_back(tokenised: str, text: str) -> None:
    assert TREEBANK.forward(tokenised) == text
    assert TREEBANK.back(text) == tokenised
    assert TREEBANK.checked(tokenised) == (text, True)


def test_a_line_without_a_way_back_stays_as_it_is() -> None:
    line = ' the book " Mt . Olympus " of 1932 @,@ \n'  # a full stop that an abbreviation would swallow
    assert WIKITEXT.back(WIKITEXT.forward(line)) != line
    assert WIKITEXT.checked(line) == (line, False)
    already = " no-one said \"never\"\n"  # text that was never tokenised would come back with marks
    assert WIKITEXT.checked(already) == (already, False)
