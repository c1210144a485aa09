"""Published sets, one line each: what they ask, what their columns are called, and how their papers score them.

Names of columns stand for one another with "|"; the first that is there is taken. "answer@1" counts from 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from seodang.data.labelled import Kind
from seodang.data.tasks.labels import NLI
from seodang.data.tasks.records import LINE
from seodang.data.tasks.shapes import (
    Shape,
    bracketed_word,
    endings,
    four_sentences,
    labelled_line,
    marked_entities,
    passages,
    plain,
    scores,
    stated_pair,
    stem,
)
from seodang.errors import UsageError, suggest


@dataclass(frozen=True)
class Published:
    """A published set.

    texts     columns of the texts; "" for a context or a question that the set does not have
    label     column of the label; `labels` its names in the order of its numbers, `aliases` what else they are called
    answers   columns of the answers, or the one that holds them all
    bare      names of the fields of its files without a header line
    shape     what makes plain records of its records
    left_out  labels of rows that no one is to learn from
    stray     whether its files are known to have rows with a piece of a text where the label should be
    folders   names of folders that are labels, of files that are one text each
    encoding  of lines that are not UTF-8
    """

    kind: Kind
    texts: tuple[str, ...]
    label: str
    source: str
    labels: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ("accuracy",)
    language: str = "en"
    answers: tuple[str, ...] = ()
    regression: bool = False
    aliases: dict[str, str] = field(default_factory=dict)
    bare: tuple[str, ...] = ()
    shape: Shape = plain
    left_out: tuple[str, ...] = ()
    stray: bool = False
    folders: tuple[str, ...] = ()
    encoding: str = "utf-8"


NOT_NLI = ("entailment", "not_entailment")
FALSE_TRUE = ("false", "true")
BOTH = ("sentence1|#1 string|premise", "sentence2|#2 string|hypothesis")
F1 = ("f1", "accuracy")
MACRO = ("macro_f1", "accuracy")
STS = ("pearson", "spearman")
STSB_FIELDS = ("genre", "filename", "year", "id", "score", "sentence1", "sentence2")
WANG = "Wang et al. 2019 (GLUE), table 1"
GPT1 = "Radford et al. 2018 (GPT-1), table "
KOBEST = "Kim et al. 2022 (KoBEST)"
KLUE = "Park et al. 2021 (KLUE)"
HAM = "Ham et al. 2020 (KorNLI and KorSTS)"
ARC = "Clark et al. 2018 (ARC)"

YNAT = ("IT과학", "경제", "사회", "생활문화", "세계", "스포츠", "정치")
RELATIONS = tuple(
    """no_relation org:dissolved org:founded org:place_of_headquarters org:alternate_names org:member_of org:members
    org:political/religious_affiliation org:product org:founded_by org:top_members/employees
    org:number_of_employees/members per:date_of_birth per:date_of_death per:place_of_birth per:place_of_death
    per:place_of_residence per:origin per:employee_of per:schools_attended per:alternate_names per:parents per:children
    per:siblings per:spouse per:other_family per:colleagues per:product per:religion per:title""".split()
)
INTENTIONS = (
    *("fragment", "statement", "question", "command", "rhetorical question", "rhetorical command"),
    "intonation-dependent utterance",
)
FIVE = ("very negative", "negative", "neutral", "positive", "very positive")
QUESTIONS = ("ABBR", "ENTY", "DESC", "HUM", "LOC", "NUM")


def _nli(source: str, texts: tuple[str, str] = BOTH, language: str = "en") -> Published:
    return Published(
        "entail", texts, "gold_label|label", source, NLI, language=language, left_out=("-",), shape=plain
    )


TASKS: dict[str, Published] = {
    # GPT-1's twelve (tables 2 to 4)
    "snli": _nli(GPT1 + "2; Bowman et al. 2015"),
    "mnli": _nli(GPT1 + "2; Williams et al. 2018"),
    "qnli": Published("entail", ("question|premise", "sentence|hypothesis"), "label", GPT1 + "2; " + WANG, NOT_NLI),
    "rte": Published("entail", BOTH, "label", GPT1 + "2; " + WANG, NOT_NLI),
    "scitail": Published(
        *("entail", BOTH, "gold_label|label", GPT1 + "2; Khot et al. 2018", ("entailment", "neutral")),
        aliases={"entails": "entailment", "not_entailment": "neutral"},
        bare=("premise", "hypothesis", "label"),
    ),
    "race": Published(
        *("choice", ("article", "question"), "answer", GPT1 + "3; Lai et al. 2017"),
        answers=("options",),
        shape=passages,
    ),
    "storycloze": Published(
        *("choice", ("story", ""), "answerrightending@1", GPT1 + "3; Mostafazadeh et al. 2016"),
        answers=("randomfifthsentencequiz1", "randomfifthsentencequiz2"),
        shape=four_sentences,
    ),
    "mrpc": Published(
        "similar", BOTH, "quality|label", GPT1 + "4; " + WANG, ("not_equivalent", "equivalent"), metrics=F1
    ),
    "qqp": Published(
        *("similar", ("question1", "question2"), "is_duplicate|label", GPT1 + "4; " + WANG),
        labels=("not_duplicate", "duplicate"),
        metrics=F1,
        shape=stated_pair,
    ),
    "stsb": Published(
        *("similar", BOTH, "score|label", GPT1 + "4; Cer et al. 2017"),
        metrics=STS,
        regression=True,
        bare=STSB_FIELDS,
    ),
    "sst2": Published(
        *("classify", ("sentence|text",), "label", GPT1 + "4; Socher et al. 2013", ("negative", "positive")),
        bare=(LINE,),
        shape=labelled_line,
    ),
    "cola": Published(
        *("classify", ("sentence",), "label", GPT1 + "4; Warstadt et al. 2019", ("unacceptable", "acceptable")),
        metrics=("matthews", "accuracy"),
        bare=("source", "label", "star", "sentence"),
    ),
    "wnli": Published(
        "entail", BOTH, "label", WANG, ("not_entailment", "entailment")
    ),
    # KLUE
    "klue-ynat": Published("classify", ("title",), "label", KLUE, YNAT, MACRO, "ko"),
    "klue-sts": Published(
        *("similar", BOTH, "score|label", KLUE, (), ("pearson", "f1_from_3"), "ko"), regression=True, shape=scores
    ),
    "klue-nli": _nli(KLUE, ("premise", "hypothesis"), "ko"),
    "klue-re": Published(
        *("classify", ("sentence",), "label", KLUE, RELATIONS, ("micro_f1", "auprc", "accuracy"), "ko"),
        shape=marked_entities,
    ),
    # KoBEST: its own tables, and those of the hub
    "kobest-boolq": Published(
        "entail", ("text|paragraph", "question"), "answer|label", KOBEST, FALSE_TRUE, MACRO, "ko"
    ),
    "kobest-copa": Published(
        *("choice", ("sentence|premise", "question"), "answer@1|label", KOBEST, (), MACRO, "ko"),
        answers=("1|alternative_1", "2|alternative_2"),
    ),
    "kobest-hellaswag": Published(
        *("choice", ("context", ""), "label", KOBEST, (), MACRO, "ko"),
        answers=tuple(f"choice{i}|ending_{i}" for i in range(1, 5)),
    ),
    "kobest-sentineg": Published(
        "classify", ("text|sentence",), "label", KOBEST, ("negative", "positive"), MACRO, "ko"
    ),
    "kobest-wic": Published(
        *("similar", ("sentence1|context_1", "sentence2|context_2"), "answer|label", KOBEST, FALSE_TRUE, MACRO, "ko"),
        shape=bracketed_word,
    ),
    # Korean
    "nsmc": Published(
        "classify", ("document",), "label", "Park 2016 (NSMC)", ("negative", "positive"), language="ko"
    ),
    "kornli": _nli(HAM, BOTH, "ko"),
    "korsts": Published(
        *("similar", BOTH, "score", HAM, (), ("spearman", "pearson"), "ko"),
        regression=True,
        bare=STSB_FIELDS,
    ),
    "3i4k": Published(
        *("classify", ("text",), "label", "Cho et al. 2018 (3i4K)", INTENTIONS, ("accuracy", "macro_f1"), "ko"),
        bare=("label", "text"),
    ),
    "paws-x": Published(
        *("similar", BOTH, "label", "Yang et al. 2019 (PAWS-X)", ("not_paraphrase", "paraphrase")),
        language="",
        stray=True,
    ),
    # English
    "imdb": Published(
        *("classify", ("text|review",), "label|sentiment", "Maas et al. 2011", ("negative", "positive")),
        aliases={"neg": "negative", "pos": "positive"},
        folders=("neg", "pos", "unsup"),
    ),
    "trec": Published(
        *("classify", ("text",), "label|coarse_label", "Li & Roth 2002", QUESTIONS),
        bare=(LINE,),
        shape=labelled_line,
        encoding="latin-1",
    ),
    "sst5": Published(
        *("classify", ("text|sentence",), "label", "Socher et al. 2013", FIVE),
        bare=(LINE,),
        shape=labelled_line,
        encoding="latin-1",
    ),
    "arc-easy": Published("choice", ("", "question"), "answerkey", ARC, answers=("choices",), shape=stem),
    "arc-challenge": Published("choice", ("", "question"), "answerkey", ARC, answers=("choices",), shape=stem),
    "commonsenseqa": Published(
        *("choice", ("", "question"), "answerkey", "Talmor et al. 2019 (CommonsenseQA)"),
        answers=("choices",),
        shape=stem,
    ),
    "hellaswag": Published(
        *("choice", ("ctx", ""), "label", "Zellers et al. 2019 (HellaSwag)"),
        answers=("endings",),
        shape=endings,
    ),
    "piqa": Published(
        "choice", ("", "goal"), "label", "Bisk et al. 2020 (PIQA)", answers=("sol1", "sol2")
    ),
    "winogrande": Published(
        *("choice", ("sentence", ""), "answer@1", "Sakaguchi et al. 2020 (WinoGrande)"),
        answers=("option1", "option2"),
    ),
}

ALIASES = {
    **{"rocstories": "storycloze"},
    **{"sst": "sst2", "sst-2": "sst2", "sst-5": "sst5", "sts-b": "stsb", "multinli": "mnli", "csqa": "commonsenseqa"},
    **{"story-cloze": "storycloze", "pawsx": "paws-x", "ynat": "klue-ynat", "klue-tc": "klue-ynat"},
}

REFUSED = {
    "klue-ner": "it labels every syllable of a text, not the text",
    "klue-dp": "it asks for the tree of a sentence, not for a class",
    "klue-mrc": "its answers are places in the text, not classes",
    "klue-wos": "it follows the state of a dialogue, slot by slot",
    "klue-dst": "it follows the state of a dialogue, slot by slot",
}

GENERIC = ("classify", "entail", "similar", "choice", "regress")
"""Tasks of the user's own files."""


def task_name(task: str) -> str:
    """The name of a task in our spelling. Raises UsageError for one that is unknown, or known and of no class."""
    name = task.casefold().replace("_", "-").removeprefix("glue-")
    name = ALIASES.get(name, name)
    if name in REFUSED:
        raise UsageError(f"{name} cannot be learned this way", REFUSED[name], "read on: seodang finetune --help")
    if name not in TASKS and name not in GENERIC:
        raise UsageError(
            f"there is no task {task!r}",
            suggest(name, [*TASKS, *GENERIC]),
            "for your own files: --task classify, entail, similar, choice or regress",
        )
    return name
