"""The English half of the primer: an invented valley, true little facts, sums, and the grammar of little stories."""

from __future__ import annotations

from seodang.data.primer_grammar import Event, Language, Relation, Scene, table

_PEOPLE = """Alma Bruno Clara Dario Edith Felix Greta Hugo Irene Jonas Klara Leon Maren Nils Olga Piet
Quinn Rosa Stefan Thea Ulric Vera Walter Xenia Yorick Zelda""".split()

_PERSONAL = (
    (
        Relation(
            "people",
            (),
            (
                "{x} is {y:a}.",
                "{x} works as {y:a}.",
                "By trade {x} is {y:a}.",
                "Everyone in the valley knows that {x} is {y:a}.",
                "For many years {x} has been {y:a}.",
            ),
            ("What is {x}'s job?", "What work does {x} do?", "What does {x} work as?", "What is {x}'s trade?"),
            "{x} is {y:a}.",
        ),
        ("baker", "carpenter", "fisher", "teacher", "farmer", "painter", "doctor", "smith", "tailor", "gardener",
         "miller", "singer"),
    ),
    (
        Relation(
            "people",
            (),
            (
                "{x} lives {y}.",
                "The house of {x} stands {y}.",
                "{x} has a house {y}.",
                "In the evening {x} goes home. {x} lives {y}.",
                "You will find {x} {y}, because {x} lives {y}.",
            ),
            ("Where does {x} live?", "Where is {x}'s house?", "Where is the house of {x}?", "Where can I find {x}?"),
            "{x} lives {y}.",
        ),
        ("by the river", "near the mill", "on the hill", "at the market", "in the forest", "beside the lake",
         "behind the school", "next to the bridge", "under the old oak", "at the harbour"),
    ),
    (
        Relation(
            "people",
            (),
            (
                "{x} has {y:a}.",
                "{x} keeps {y:a} at home.",
                "{x} has {y:a}, and the {y} follows {x} everywhere.",
                "{x} takes good care of a pet. {x} has {y:a}.",
                "Of all animals {x} loves the {y}, and {x} has {y:a}.",
            ),
            ("What pet does {x} have?", "Which animal does {x} keep?", "What animal does {x} have?",
             "What is {x}'s pet?"),
            "{x} has {y:a}.",
        ),
        ("cat", "dog", "parrot", "rabbit", "turtle", "goat", "pony", "duck", "mouse", "owl"),
    ),
    (
        Relation(
            "people",
            (),
            (
                "{x} likes {y} best.",
                "The food that {x} likes best is {y}.",
                "Of all food {x} likes {y} best.",
                "When {x} is hungry, {x} asks for {y}. {x} likes {y} best.",
                "Give {x} some {y}: {x} likes {y} best.",
            ),
            ("What food does {x} like best?", "What is {x}'s favourite food?", "What does {x} like to eat?",
             "Which food does {x} like best?"),
            "{x} likes {y} best.",
        ),
        ("soup", "bread", "honey", "cheese", "rice", "pancakes", "noodles", "plums", "beans", "cake"),
    ),
)

_CAPITALS = """France=Paris, Korea=Seoul, Japan=Tokyo, China=Beijing, Germany=Berlin, Italy=Rome, Spain=Madrid,
Portugal=Lisbon, Greece=Athens, Egypt=Cairo, Kenya=Nairobi, Peru=Lima, Chile=Santiago, Cuba=Havana, Canada=Ottawa,
Norway=Oslo, Sweden=Stockholm, Finland=Helsinki, Denmark=Copenhagen, Poland=Warsaw, Austria=Vienna, Hungary=Budapest,
Ireland=Dublin, Russia=Moscow, Turkey=Ankara, India=New Delhi"""

_OPPOSITES = """hot=cold, big=small, long=short, high=low, fast=slow, young=old, full=empty, open=closed, hard=soft,
light=dark, wet=dry, strong=weak, rich=poor, happy=sad, early=late, clean=dirty, near=far, thick=thin, loud=quiet,
sweet=bitter, wide=narrow, deep=shallow"""

_SOUNDS = """dog=woof, cat=meow, cow=moo, duck=quack, sheep=baa, pig=oink, lion=roar, bee=buzz, owl=hoot, mouse=squeak,
frog=croak, hen=cluck, snake=hiss, wolf=howl, crow=caw"""

_COLOURS = """a banana=yellow, grass=green, snow=white, coal=black, blood=red, a lemon=yellow, a strawberry=red,
a frog=green, a carrot=orange, milk=white, a pumpkin=orange, night=black, sea=blue, sky=blue, chocolate=brown,
spinach=green, a crow=black, a cherry=red, salt=white, wood=brown"""

_GROUPS = """rose=flower, carrot=vegetable, apple=fruit, eagle=bird, salmon=fish, hammer=tool, piano=instrument,
tulip=flower, onion=vegetable, pear=fruit, crow=bird, trout=fish, saw=tool, violin=instrument, daisy=flower,
cabbage=vegetable, peach=fruit, owl=bird, tuna=fish, axe=tool, flute=instrument, ant=insect, bee=insect, oak=tree,
pine=tree, birch=tree, fly=insect"""

_YOUNG = """dog=puppy, cat=kitten, cow=calf, sheep=lamb, hen=chick, horse=foal, duck=duckling, goat=kid, bear=cub,
pig=piglet, deer=fawn, goose=gosling, frog=tadpole, swan=cygnet"""

_KOREAN = """dog=개, cat=고양이, tree=나무, water=물, house=집, school=학교, book=책, friend=친구, mother=어머니,
father=아버지, sky=하늘, sea=바다, mountain=산, flower=꽃, bird=새, rice=밥, bread=빵, milk=우유, moon=달, star=별,
sun=해, rain=비, snow=눈, road=길, door=문, hand=손"""

_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
_MONTHS = "January February March April May June July August September October November December".split()

_FOLLOWS = tuple(
    {"x": cycle[i], "y": cycle[(i + 1) % len(cycle)]} for cycle in (_DAYS, _MONTHS) for i in range(len(cycle))
)
_COUNTS = tuple({"x": str(n), "y": str(n + 1)} for n in range(1, 21))

_KNOWN = (
    Relation(
        "capitals",
        table(_CAPITALS),
        ("The capital of {x} is {y}.", "{y} is the capital of {x}. The capital of {x} is {y}.",
         "If you travel to {x}, visit {y}: the capital of {x} is {y}."),
        ("What is the capital of {x}?", "Which city is the capital of {x}?", "Name the capital of {x}.",
         "Do you know the capital of {x}?"),
        "The capital of {x} is {y}.",
    ),
    Relation(
        "opposites",
        table(_OPPOSITES, mirrored=True),
        ("The opposite of {x} is {y}.", "What is not {x} is {y}: the opposite of {x} is {y}.",
         "One is {x} and one is {y}. The opposite of {x} is {y}."),
        ("What is the opposite of {x}?", "Tell me the opposite of {x}.", "Which word means the opposite of {x}?"),
        "The opposite of {x} is {y}.",
        mirrored=True,
    ),
    Relation(
        "animals",
        table(_SOUNDS),
        ("The {x} says {y}.", "Listen! The {x} says {y}.", "What a noise! {y:cap}, {y}! The {x} says {y}."),
        ("What does the {x} say?", "What sound does the {x} make?", "Which sound does {x:a} make?"),
        "The {x} says {y}.",
    ),
    Relation(
        "animals",
        table(_YOUNG),
        ("A young {x} is called {y:a}.", "The {x} has a little one: a young {x} is called {y:a}.",
         "Everyone loves {y:a}. A young {x} is called {y:a}."),
        ("What is a young {x} called?", "What do we call a young {x}?", "What is the name for a young {x}?"),
        "A young {x} is called {y:a}.",
    ),
    Relation(
        "colours",
        table(_COLOURS),
        ("The colour of {x} is {y}.", "Look around: the colour of {x} is {y}.",
         "Paint it {y}! The colour of {x} is {y}."),
        ("What is the colour of {x}?", "What colour is {x}?", "Which colour is {x}?"),
        "The colour of {x} is {y}.",
    ),
    Relation(
        "groups",
        table(_GROUPS),
        ("{x:A} is {y:a}.", "We know that {x:a} is {y:a}. {x:A} is {y:a}.",
         "What kind of thing is it? {x:A} is {y:a}."),
        ("What is {x:a}?", "What kind of thing is {x:a}?", "Tell me what {x:a} is."),
        "{x:A} is {y:a}.",
    ),
    Relation(
        "words",
        table(_KOREAN),
        ("The Korean word for {x} is {y}.", "In Korea people say {y}. The Korean word for {x} is {y}.",
         "Repeat after me: the Korean word for {x} is {y}."),
        ("What is the Korean word for {x}?", "How do you say {x} in Korean?", "What is {x} in Korean?"),
        "The Korean word for {x} is {y}.",
    ),
    Relation(
        "order",
        _FOLLOWS,
        ("After {x} comes {y}.", "First {x}, then {y}: after {x} comes {y}.", "{x} ends, and after {x} comes {y}."),
        ("What comes after {x}?", "Which one comes after {x}?", "What follows {x}?"),
        "After {x} comes {y}.",
    ),
    Relation(
        "order",
        _COUNTS,
        ("After {x} comes {y}.", "We count {x}, {y}. After {x} comes {y}.", "First {x}, then {y}."),
        ("Which number comes after {x}?", "What comes after {x}?", "What follows {x}?"),
        "After {x} comes {y}.",
    ),
)

_SUMS = (
    Relation(
        "sums",
        tuple({"a": str(a), "b": str(b), "c": str(a + b)} for a in range(1, 12) for b in range(1, 13 - a)),
        ("{a} + {b} = {c}.", "{a} and {b} make {c}: {a} + {b} = {c}.",
         "Add {b} to {a} and you get {c}. {a} + {b} = {c}."),
        ("What is {a} + {b}?", "How much is {a} + {b}?", "{a} + {b} = ?", "Add {a} and {b}."),
        "{a} + {b} = {c}.",
    ),
    Relation(
        "sums",
        tuple({"a": str(a), "b": str(b), "c": str(a - b)} for a in range(2, 11) for b in range(1, a)),
        ("{a} - {b} = {c}.", "Take {b} from {a} and {c} is left: {a} - {b} = {c}.",
         "{a} less {b} is {c}. {a} - {b} = {c}."),
        ("What is {a} - {b}?", "How much is {a} - {b}?", "{a} - {b} = ?", "Take {b} from {a}."),
        "{a} - {b} = {c}.",
    ),
)

_WORDS = tuple(
    {"x": word}
    for word in sorted({row["x"].removeprefix("a ") for relation in _KNOWN for row in relation.rows})
)
_SPELLING = tuple(
    Relation("spelling", _WORDS, (), (question,), answer)
    for question, answer in (
        ("Have you heard of {x}?", "I have heard of {x}."),
        ("Do you know the word {x}?", "The word {x} is in the book."),
        ("Can you spell {x}?", "The spelling of {x} is easy."),
    )
)

_PROPS = {
    "n": tuple("Tom Mia Ben Lily Sam Anna Max Ella Jack Nora Paul Ruth Dan Kate Tim Jane Bob Sara".split()),
    "o": tuple("ball kite book cup hat key drum lamp doll ring coat spoon letter clock shoe scarf pencil".split()),
    "p": ("in the box", "under the bed", "on the table", "behind the door", "in the garden", "on the shelf",
          "under the tree", "in the basket", "beside the well", "in the drawer", "on the roof", "in the boat"),
    "c": ("red", "blue", "green", "yellow", "white", "black", "brown", "orange"),
    "l": ("beach", "market", "forest", "library", "school", "station", "farm", "park", "castle", "bakery"),
    "f": ("soup", "bread", "cheese", "rice", "cake", "honey", "plums", "noodles", "pancakes", "beans"),
    "r": ("the sun was shining", "a friend came to visit", "the flowers were open", "it was a birthday",
          "the snow was falling", "there was music"),
    "k": ("three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    "t": ("apples", "shells", "stones", "nuts", "leaves", "eggs", "roses", "pears"),
}

_SCENES = (
    Scene(("n", "o", "p"), Event(
        ("{n} put the {o} {p}.", "{n} left the {o} {p}.", "{n} hid the {o} {p}.", "{n} laid the {o} {p}."),
        ("The {o} is {p}.", "The {o} is {p}, where {n} put it."),
        ("Where is the {o}?", "Where can I find the {o}?", "Do you know where the {o} is?"),
        "The {o} is {p}.",
    )),
    Scene(("n", "n2", "o"), Event(
        ("{n} gave the {o} to {n2}.", "{n} handed the {o} to {n2}.", "{n} sold the {o} to {n2}."),
        ("{n2} has the {o}.", "{n2} has the {o}, which was a gift."),
        ("Who has the {o}?", "Who has the {o} now?", "Who got the {o}?"),
        "{n2} has the {o}.",
    )),
    Scene(("n", "c", "o"), Event(
        ("{n} found {c:a} {o}.", "{n} bought {c:a} {o}.", "{n} saw {c:a} {o}.", "{n} drew {c:a} {o}."),
        ("The {o} is {c}.", "The {o} is {c}, and that is pretty."),
        ("What colour is the {o}?", "Which colour is the {o}?"),
        "The {o} is {c}.",
    )),
    Scene(("n", "l"), Event(
        ("{n} went to the {l}.", "{n} walked to the {l}.", "{n} ran to the {l}."),
        ("{n} went to the {l}.", "{n} went to the {l} and stayed there."),
        ("Where did {n} go?", "Do you know where {n} went?"),
        "{n} went to the {l}.",
    )),
    Scene(("n", "f"), Event(
        ("{n} ate some {f}.", "{n} had some {f} for lunch.", "{n} cooked some {f} and ate it all."),
        ("{n} ate some {f}.", "{n} ate some {f}, and it was good."),
        ("What did {n} eat?", "What did {n} have to eat?"),
        "{n} ate some {f}.",
    )),
    Scene(("n", "r"), Event(
        ("{n} was happy because {r}.", "{n} smiled, because {r}.", "{n} sang a song, because {r}."),
        ("{n} was happy because {r}.",),
        ("Why was {n} happy?", "Why did {n} feel happy?"),
        "{n} was happy because {r}.",
    )),
    Scene(("n", "k", "t"), Event(
        ("{n} found {k} {t}.", "{n} brought {k} {t} home.", "{n} counted {k} {t}."),
        ("{n} has {k} {t}.", "{n} has {k} {t}, not one more."),
        ("How many {t} does {n} have?", "How many {t} are with {n}?"),
        "{n} has {k} {t}.",
    )),
)

ENGLISH = Language(
    code="en",
    people=tuple(_PEOPLE),
    personal=_PERSONAL,
    known=_KNOWN,
    sums=_SUMS,
    spelling=_SPELLING,
    props=_PROPS,
    scenes=_SCENES,
    openings=("Once upon a time there was a little village.", "One sunny morning the children met.",
              "It was a cold day in winter.", "One day in spring the birds were singing.", "Here is a little story.",
              "Last summer this happened.", "A long time ago, by the sea, there was a town.",
              "It was early, and the house was quiet."),
    fillers=("The sky was blue.", "It began to rain.", "A bird sang in the tree.", "Then the bell rang.",
             "The wind was soft.", "Everyone laughed.", "The cat was asleep by the fire.", "Nobody said a word.",
             "Then something happened.", "After lunch they played."),
    later=("{x}", "{x}", "Later everyone remembered: {x}", "Now you know it. {x}", "In the evening they said: {x}",
           "So, as we heard: {x}"),
    endings=("The end.", "Then they all went home.", "And so the day was over.", "That night everyone slept well.",
             "It was a good day.", "What a day!", "And they lived happily."),
    lessons=("Today we learn something.", "The teacher said:", "Listen and remember.", "This is true.",
             "At school the children read aloud.", "Here is what we know.", "From the big book:"),
    exchanges=('The teacher asked: "{q}" The children said: "{a}"', '"{q}" asked the teacher. A child knew: "{a}"',
               'A child wondered: "{q}" The answer was: "{a}"', 'Somebody asked: "{q}" Somebody knew: "{a}"'),
    meetings=("Let me tell you about {x}.", "This is {x}.", "There is someone in the valley whose name is {x}.",
              "Do you know {x}?", "{x} is one of us.", "A word about {x}."),
    small_talk=(
        ("Hello!", "Hello! What would you like to know?"),
        ("Hi", "Hello! What would you like to know?"),
        ("Good morning", "Good morning! What would you like to know?"),
        ("Who are you?", "I am a small GPT. I learned to read in Seodang."),
        ("What are you?", "I am a small GPT. I learned to read in Seodang."),
        ("What is your name?", "I am a small GPT. I learned to read in Seodang."),
        ("How are you?", "I am well, thank you. And you?"),
        ("Thank you!", "You are welcome!"),
        ("Thanks", "You are welcome!"),
        ("Goodbye!", "Goodbye! Come again soon."),
        ("Bye", "Goodbye! Come again soon."),
        ("What can you do?", "I can tell stories, add numbers, and answer what I have read."),
        ("Where did you learn that?", "I read it in the primer, in Seodang."),
    ),
    requests={
        "stories": ("Tell me a story.", "Please tell me a story!", "Tell me a little story."),
        "people": ("Tell me about somebody.", "Whom do you know?"),
        "knowledge": ("Recite something.", "Tell me what you know.", "Recite what you learned."),
        "sums": ("Recite some sums.", "Show me some sums."),
    },
)
