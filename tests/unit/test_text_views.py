"""What the plain view changes, and above all what it leaves as it is."""

import random
import unicodedata
from typing import Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from worker.commands.evaluate.evasions import EVASIONS
from worker.moderation.markup import RULES, Markup, render
from worker.moderation.text_views import STEPS, PlainText, Vocabulary
from worker.moderation.text_views.letters import FLAGS
from worker.moderation.text_views.rules import edited
from worker.moderation.text_views.triggers import Triggers

WORDS = (
    "the to of and is it in them that all you kill good god people country these are nothing but very their "
    "hate not will what with this from have hello every one head step two three like i a into die abusive hair "
    "wait pain pig bios wifi born lover hand open sol do modal type level part halt want voor facade elite "
    "fiance player loan"
)
VOCABULARY = Vocabulary(WORDS.split(), ["s", "er", "ing", "ed", "ly"])
VIEW = PlainText.of(VOCABULARY)
SENTENCE = "These people are nothing. Hello, kill all of them in this country!"


@pytest.mark.parametrize(
    "text",
    [
        "kill them all",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f 1\ufe0f\u20e3 \U0001f44d\U0001f3fd",
        "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",  # the flag of England
        "\U0001f1fa\U0001f1f8\U0001f1ec\U0001f1e7 won",
        "\U0001f170\ufe0f \U0001f17f\ufe0f \U0001f197 \u24c2\ufe0f \u2122 \u00a9",
        "\u0915\u094d\u200d\u0937 \u0936\u094d\u0930\u0940\u200c \u0939\u093f\u0928\u094d\u0926\u0940",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \u0628\u0631\u0648\u0645",
        "\u05e9\u05dc\u05d5\u05dd\u200f! \u200eabc\u200f \u2067\u05e9\u2069",
        "\u0627\u0644\u0633\u0644\u0627\u0645\u064f \u0639\u0644\u064a\u0643\u0645\u200f.",
        "\ud55c\uad6d\uc5b4 \u314b\u314b\u314b\u314b \u3160\u3160\u3160 \u1100\u1161\u11a8",
        "\u0e20\u0e32\u0e29\u0e32\u200b\u0e44\u0e17\u0e22 \u0e19\u0e49\u0e33 \u0e17\u0e35\u0e48\u0e19\u0e35\u0e48",
        "Ti\u1ebfng Vi\u1ec7t, tie\u0302\u0301ng Vie\u0302\u0323t",
        "\u65e5\u672c\u8a9e\uff2e\uff28\uff2b\u306e\uff11\uff12\uff13 \uff8a\uff9b\uff70 \u337f \u2460\u2461",
        "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440: \u0432\u043e\u0442 \u043a\u043e\u0442",
        "\u0395\u03bb\u03bb\u03ac\u03b4\u03b1 \u03ba\u03b1\u03b9 \u03c3\u03ba\u03ad\u03c8\u03b7",
        "h8 gr8 2day b4 7-0 2018 x264 mp3 i7 utf8 base64 v1 joe99 5Head 1st 2nd step1 step2 one3 10:30 3.5",
        "https://example.com/k1ll/aaaab/th3m www.k1ll.example @joee1",
        "1\u00ba 2\u00aa 10 \u00b5m 5 m\u00b2 \u00bd \u2126",
        "a b is not c, 1 2 3 4, I I I, R y D, 1 a 5 b",
        "A-10C 10TB 3DCG A16 3rd 30s m*rde f*ck 15:33",
        "www. mmm, ==== ---- ....",
        "  /\\_/\\  \n ( o.o ) \n  > ^ <",
        "```\nif x1 == y[i]:\n    return *p\n```",
        "\u8349\uff57\uff57\uff57\uff57 \u3059\u3054\u3044wwwww",
        "nh\u1eefng ng\u01b0\u1eddi \u0111\u01b0\u1ee3c v\u1ec1",
        "C'\u00e9tait d\u00e9j\u00e0 tr\u00e8s \u00e9l\u00e9gant",
        "\u0442\u043e\u0442 \u043a\u043e\u0442 \u043a\u0430\u043a \u0442\u0430\u043a",
        "IEEE CCCP a/b/c 1/2/3 x, y, z",
        "`a + a = a + b`, p.s. I'm x - y = t - h, a, b, c, d",
        "il y\u00a0a 10\u00a0000, 1\ufe0f\u20e3 2\ufe0f\u20e3",
        "a\nb\nc\nd\ne\nf",
        "1\t2\t3",
        "caf\u00e9 na\u00efve stra\u00dfe \u0142\u00f3d\u017a s\u00f8r \u0111\u00e2u",
        "WiFi iPhone McIntosh OpenAI III AI Ian isInteger kIll_it @kiII x.kiII lmao pls html",
        "k\u00edll",  # alone: it can be a word of another language
        "\u00e0 l'h\u00eallo, das g\u00f6od",
        "what is Hell\u00f4 and the caf\u00e9",
        "\u00a1kill! a#b 20\u00b0C c#kill \u00a9kill k\u00a7\u00a7\u00a7\u00a7ll",
        ":thumbs_up: :letter_k: :letter_i: :x: :a::b::o:",
        ":team_a: :team_b: :team_c: :xbox_a::xbox_b::xbox_c: :vitamin_b: :vitamin_c: :vitamin_d:",
        "::option_a::option_b::option_c:",
        "WiFi YouTube MySQL findById LaTeX-kIlL x.kIlL kIlL() LoL PhD KIll kiLL",
        "eMail an PayPal",
        "iPhone eBay jQuery iOS mRNA pH gO dI kILL-it kILL-LaTeX x-kILL- findKill killAll",
        "what HeLlO and KiLl have",  # one word that can be a name
        "openaI, soI went, doI modaI typeIII levelII PartII vII VIlI",
        "what they think about the fianc\u00e9 and the \u00e9lite",
        "Jeg vil have b\u00f8rn, vi skal have l\u00f8ver og st\u00e5r her",  # Danish
        "Er hun her? L\u00f8ve i m\u00f8rke",  # Norwegian
        "jeg har en h\u00e5nd, kan du have denne",
        "jag har en h\u00e4st och vill ha en h\u00e5nd",  # Swedish
        "ik want dat v\u00f3\u00f3r het huis her",  # Dutch
        "my te\u017c mamy \u0142\u0105k\u0119, wi\u0119c my want\u00f3w nie h\u00e1nd",  # Polish
        "Sen \u00e7ok k\u00f6t\u00fc bir adams\u0131n, her h\u00e4nd onu",  # Turkish
        "wer will das, er h\u00e4lt her",  # German
        "elle a un h\u00e4lt, le mari est f\u00e2ch\u00e9, il want l'\u00e9lite",  # French
        "el ni\u00f1o est\u00e1 aqu\u00ed, \u00bfd\u00f3nde? h\u00e1nd",  # Spanish
        "O que voc\u00ea tem \u00e9 s\u00f3 um h\u00e1nd, n\u00e3o \u00e9",  # Portuguese
    ],
)
def test_ordinary_text_does_not_change(text: str) -> None:
    assert VIEW.plain(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("k\u200bi\u200dl\u2060l them", "kill them"),
        ("k\ufff9i\ufffall them", "kill them"),
        ("k1\ufe0fll them", "kill them"),
        ("\u3164\u200b\ufeffkill", "kill"),
        ("ki\u00adll\x00 them", "kill them"),
        ("\U000e006b\U000e0069\U000e006c\U000e006c", "kill"),
        ("\u202ellik\u202c them", "kill them"),
        ("\u202emeht llik", "kill them"),
        ("\u202emeht\u202c\u202e llik\u202c", "kill them"),
        ("\u202el\u202c\u202el\u202c\u202ei\u202c\u202ek\u202c", "kill"),
        ("\u202eme\u202eht llik", "kill them"),
        ("\uff4b\uff49\uff4c\uff4c\u3000\uff54\uff48\uff45\uff4d\uff01", "kill them!"),
        ("\U0001d4f4\U0001d4f2\U0001d4f5\U0001d4f5 \u1d4f\u2071\u02e1\u02e1", "kill kill"),
        ("\U0001ccd6\U0001ccd7", "AB"),
        ("\u24da\u24d8\u24db\u24db", "kill"),
        ("\U0001f17a\U0001f178\U0001f17b\U0001f17b", "Kill"),
        ("\U0001f1f0\U0001f1ee\U0001f1f1\U0001f1f1", "Kill"),
        ("\U0001f1f0 \U0001f1ee \U0001f1f1 \U0001f1f1   \U0001f1fd", "Kill x"),
        ("k\u0321\u0335\u0336i\u0301l\u0310l\u0310", "kill"),
        ("k\u0336i\u0336l\u0336l\u0336", "kill"),
        ("k\u0456ll th\u0435m", "kill them"),
        ("th\u0435 \u0441\u043e\u0443\u043d\u0442r\u0443", "the coyhtry"),
        ("\u1d0b\u026a\u029f\u029f", "kill"),
        ("k<b>i</b>ll k**il**l k&shy;ill", "kill kill kill"),
        ("k i l l", "kill"),
        ("k-i-l-l t-h-e-m o-f", "kill them of"),
        ("k i l l   t h e m   o f", "kill them of"),
        ("k1ll th3m @ll", "kill them all"),
        ("k1\ufe0f\u20e3ll", "kill"),
        ("\u0137\u00ed\u013a\u013a \u0165\u0125\u00e9\u1e3f", "kill them"),
        ("\u13e6\u13c6\u13de\u13de \u13a2\u13bb\u13ac\u13b7", "KILL THEM"),
        ("\u1d0b\u026a\u029f\u029f \u1d1b\u029c\u1d07\u1d0d", "kill them"),
        ("\u026f\u01dd\u0265\u0287 \u05df\u05df\u1d09\u029e", "kill them"),
        ("\ufb01\ufb02", "fifl"),
        ("k\ni\nl\nl\n\nt\nh\ne\nm", "kill them"),
        ("k/i/l/l t/h/e/m", "kill them"),
        ("k\n\ni\n\nl\n\nl", "kill"),
        ("k\r\ni\r\nl\r\nl", "kill"),
        ("k\ni\nl\nl\nt\nh\ne\nm", "kill them"),
        ("k\u2009i\u2009l\u2009l", "kill"),
        ("k\ti\tl\tl", "kill"),
        ("k\u00a0i\u00a0l\u00a0l  t h e m", "kill them"),
        ("k   i   l   l", "kill"),
        ("t h e m   a   k i l l", "them a kill"),
        ("t\nh\ne\nm\n\na\n\nk\ni\nl\nl", "them a kill"),
        ("k - i - l - l", "kill"),
        ("k, i, l, l", "kill"),
        ("k \U0001f44f i \U0001f44f l \U0001f44f l", "kill"),
        ("k\u2764\ufe0fi\u2764\ufe0fl\u2764\ufe0fl", "kill"),
        ("k \u2764\ufe0f i \u2764\ufe0f l \u2764\ufe0f l", "kill"),
        ("k\u2764\ufe0f\u2764\ufe0fi\u2764\ufe0f\u2764\ufe0fl\u2764\ufe0f\u2764\ufe0fl", "kill"),
        ("k\r\n\r\ni\r\n\r\nl\r\n\r\nl", "kill"),
        ("[k][i][l][l] [t][h][e][m]", "[kill] [them]"),
        ("k-i.l*l", "kill"),
        ("K1LL", "KILL"),
        ("kiiiillll GOOOOOD goood", "kill GOOD good"),
        ("kiII HeIIo aIl peopIe Iike", "kill Hello all people like"),
        ("KlLL", "KILL"),
        ("klll", "kill"),
        ("Hlnt klll", "Hlnt kill"),
        ("DlE now", "DIE now"),
        ("ABUSlVE", "ABUSIVE"),
        ("HAlR", "HAIR"),
        ("WAlT", "WAIT"),
        ("PAlN", "PAIN"),
        ("PlG", "PIG"),
        ("BlOS", "BIOS"),
        ("WlFI", "WIFI"),
        ("\tlnto", "\tinto"),
        ("kiII", "kill"),
        ("b\u00f6rn with l\u00f8ver", "born with lover"),
        ("k\u00edll what", "kill what"),
        ("go\u00f6d with N\u00f6thing", "good with N\u00f6thing"),
        ("G\u00f6od with k\u0131ll, ki\u0301ll", "Good with kill, kill"),
        (
            "k\u00a1ll peo\u2020le hea\u00b0d co\u00a9ntry c\u00b0untry",
            "kill peo\u2020le hea\u00b0d co\u00a9ntry country",
        ),
        ("kIlL iT, KiLl", "kill it, kill"),
        ("This iS A kIlL wOrD", "this is a kill word"),
        ("...kIlL tHeM!", "...kill them!"),
        ("HeLlO PeOpLe of this country", "hello people of this country"),
        ("he said kIlL on YouTube to Them", "he said kill on youtube to Them"),
        ("yOu hAtE ThEm aLl", "you hate them all"),
        ("k1Ll THeM aLl", "kill them all"),
        ("kILL", "kill"),
        ("gO dIe", "go die"),
        ("kIlL-tHeM", "kill-them"),
        ("yOU aRE nOTHING!", "you are nothing!"),
        (":regional_indicator_k: :regional_indicator_i: :regional_indicator_l: :regional_indicator_l:", "Kill"),
        ("ok :alphabet-white-k::alphabet-yellow-i::alphabet-white-l::alphabet-white-l:", "ok kill"),
        (":letter_k::letter_i::letter_l::letter_l: them", "Kill them"),
        ("top 1 h4te th3m !", "top 1 hate them !"),
    ],
)
def test_a_disguise_is_shown_as_what_a_reader_sees(text: str, shown: str) -> None:
    assert VIEW.plain(text) == shown


def test_a_text_of_invisible_characters_is_empty() -> None:
    assert VIEW.plain("\u200b\u3164\ufeff") == ""


def test_a_capital_i_begins_a_name_unless_the_word_with_l_is_frequent() -> None:
    others = ["a" * length for length in range(3, 3000)]
    view = PlainText.of(Vocabulary(["like", *others, "loan"]))
    assert view.plain("Iike Ioan") == "like Ioan"


def test_a_word_with_a_capital_after_a_small_first_letter_is_a_name_unless_it_is_frequent() -> None:
    others = ["a" * length for length in range(3, 3000)]
    view = PlainText.of(Vocabulary(["kill", *others, "iphone", "bitch"]))
    assert view.plain("kIll") == "kill"
    assert view.plain("iPhone") == "iPhone"
    assert view.plain("bITCH") == "bitch"


@pytest.mark.parametrize("evasion", sorted(EVASIONS))
def test_each_evasion_is_undone_in_most_words(evasion: str) -> None:
    evaded = EVASIONS[evasion](SENTENCE, random.Random(3))  # noqa: S311 - a seed gives the same text
    assert evaded != SENTENCE
    words = VIEW.plain(evaded).casefold().split()
    kept = sum(word in words for word in SENTENCE.casefold().split())
    assert kept >= 9


@pytest.mark.parametrize("evasion", sorted(EVASIONS))
def test_an_evasion_is_the_same_for_the_same_seed(evasion: str) -> None:
    first, second = (EVASIONS[evasion](SENTENCE, random.Random(5)) for _ in range(2))  # noqa: S311 - as above
    assert first == second


def test_random_case_changes_only_which_letters_are_capitals() -> None:
    evaded = EVASIONS["random_case"](SENTENCE, random.Random(3))  # noqa: S311 - as above
    assert evaded.lower() == SENTENCE.lower()
    letters = [letter for letter in evaded if letter.isalpha()]
    assert 0.3 < sum(map(str.isupper, letters)) / len(letters) < 0.7


CHAT = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "k1ll",
                "aaa",
                "a b c d",
                "a/b/c/d",
                "k-i.l",
                "http://a.b/c1d",
                *(
                    "kiII",
                    "klll",
                    "KlL",
                    "KlLL",
                    "kIlL",
                    "kILL",
                    "yOu",
                    "lnto",
                    "Iike",
                    "k\u00edll",
                    "the",
                    ":letter_k:",
                    ":letter_i:",
                    "k\u00a1ll",
                ),
                *" .-*@1$3aklieK<>&/!\n\u0301\u0336\u200b\u200d\u202e\u202c",
            ]
        ),
        st.sampled_from("\u0430\u0456\uff4b\U0001d4f4\u24da\U0001f1f0\u05d0"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=40,
).map("".join)


MARKUP = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *("**", "`", "```py\n", "<:kek:12>", "<@42>", "[a](b)", "&amp;", "&#107;", "<b>", "</b>", "<br>"),
                *(
                    "<p>",
                    "<!-- x -->",
                    "<img alt='k1ll'>",
                    "> ",
                    "\n\n",
                    "  ",
                    "~~~\n",
                    "<https://a.b|k1ll>",
                    "*",
                    "_",
                ),
            ]
        ),
        CHAT,
    ),
    max_size=12,
).map("".join)


@given(st.sampled_from([name for name, rules in RULES.items() if rules]), MARKUP)
@settings(max_examples=300, deadline=None)
def test_the_view_without_markup_is_the_view_of_what_a_reader_sees(markup: Markup, text: str) -> None:
    view = PlainText.of(VOCABULARY, markup=RULES[markup])
    assert view.plain(text) == VIEW.plain(render(text, markup))
    traced = view.traced(text)
    assert traced.text == view.plain(text)
    assert all(0 <= start < end <= len(text) for start, end in zip(traced.starts, traced.ends, strict=True))


def test_a_place_in_a_view_without_markup_leads_to_the_place_in_the_text() -> None:
    text = "<:kek:12> **k1ll** <@42>"
    traced = PlainText.of(VOCABULARY, markup=RULES["discord"]).traced(text)
    assert traced.text == ":kek: kill @user"
    start, end = traced.origin(6, 10)
    assert text[start:end] == "k1ll"


@given(CHAT)
@settings(max_examples=400, deadline=None)
def test_the_trace_has_the_same_text_and_places_inside_the_original(text: str) -> None:
    traced = VIEW.traced(text)
    assert traced.text == VIEW.plain(text)
    assert len(traced.starts) == len(traced.ends) == len(traced.text)
    for start, end in zip(traced.starts, traced.ends, strict=True):
        assert 0 <= start < end <= len(text)


def test_a_place_in_the_view_leads_to_the_place_in_the_text() -> None:
    text = "hello \u200bk\u200bi\u200bl\u200bl\u200b you"
    traced = VIEW.traced(text)
    start = traced.text.index("kill")
    begin, end = traced.origin(start, start + 4)
    assert (text[begin], text[end - 1]) == ("k", "l")


@given(CHAT)
@example("it wi|1 kill")
@example("\U0002ebe1lnto")
@example("\U000e1000lnto")
@example("kiiill " * 142 + "kiiill")
@example(
    "k\u2764\ufe0f\u2764\ufe0f\u2764\ufe0fi\u2764\ufe0f\u2764\ufe0f\u2764\ufe0fl\u2764\ufe0f\u2764\ufe0f\u2764\ufe0fl"
)
@example("k ,\ufe0f i ,\ufe0f l")
@settings(max_examples=400, deadline=None)
def test_a_text_without_a_trigger_has_no_edit(text: str) -> None:
    """The pass over many texts must not miss one that a step changes."""
    shown = text
    for _, rules in VIEW.steps:
        for rule in rules:
            shown = edited(shown, rule(shown))
    if shown != text:
        assert int(Triggers([text]).flags[0]) not in {0, 32}
    assert VIEW.plain_many([text, "ok", text]) == [shown, "ok", shown]


def test_a_step_can_be_used_alone() -> None:
    only = PlainText.of(Vocabulary(WORDS.split()), ("digits_for_letters",))
    assert only.plain("k1ll kiiiill k\u200bill") == "kill kiiiill k\u200bill"
    assert [name for name, _ in VIEW.steps] == list(STEPS)


def test_flags_are_pairs_of_letters() -> None:
    assert len(FLAGS) > 250
    assert {len(flag) for flag in FLAGS} == {2}


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_accents_stay_in_either_normal_form(form: Literal["NFC", "NFD"]) -> None:
    text = unicodedata.normalize(form, "Zażółć gęślą jaźń, où êtes-vous, ťažký")
    assert VIEW.plain(text) == text
