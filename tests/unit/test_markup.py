"""What a reader sees of a text in each platform's markup, and what is left without quotes."""

from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.moderation.markup import RULES, WITHOUT_QUOTES, Markup, discord, inline, markdown, render, slack
from worker.moderation.text_views.rules import edited

WITH_MARKUP: tuple[Markup, ...] = ("discord", "slack", "html", "markdown")
PIECES = st.sampled_from(
    [
        *(
            "*",
            "**",
            "_",
            "__",
            "~",
            "~~",
            "||",
            "`",
            "```",
            "\\",
            "[",
            "](",
            ")",
            "](a)",
            "![",
            "<",
            ">",
            "<b>",
            "</b>",
        ),
        *("<blockquote>", "</blockquote>", "<mx-reply>", "<script>", "<!--", "-->", "<at id='0'>", '<img alt="x">'),
        *(
            "<@1>",
            "<@U1>",
            "<#C1|x>",
            "<!here>",
            "<:cat:1>",
            "<t:1:R>",
            "<http://a.example|b>",
            "&amp;",
            "&#x41;",
            "&#",
        ),
        *(
            "> ",
            ">>> ",
            "&gt;",
            "&gt;&gt;&gt;",
            "\n",
            "\n\n",
            " ",
            "# ",
            "-# ",
            "```quote\n",
            "~~~",
            "@**a|1**",
            "word",
        ),
        *("\u200b", "é", "\ud800", "\0", "\U0001f600"),
    ]
)
TEXTS = st.one_of(st.text(), st.lists(PIECES, max_size=30).map("".join))


def seen(markup: Markup, text: str) -> str:
    assert RULES[markup] is not None
    return render(text, markup)


def kept(markup: Markup, text: str) -> str:
    without_quotes = WITHOUT_QUOTES[markup]
    assert without_quotes is not None
    return without_quotes(text)


@pytest.mark.parametrize(
    ("text", "reader_sees"),
    [
        ("k**i**ll k||i||ll k~~i~~ll k*i*ll", "kill kill kill kill"),
        ("__under__ _it_ ***both***", "under it both"),
        ("snake_case_name and 2 * 3 * 4", "snake_case_name and 2 * 3 * 4"),
        ("open *star, __never closed", "open *star, __never closed"),
        ("hi <:kappa:12> <a:dance:3>", "hi :kappa: :dance:"),
        ("<@12> <@!12> <@&12> <#12>", "@user @user @role #channel"),
        ("</ban user:12> <id:customize> <t:1769851800:R>", "/ban user #customize [time]"),
        ("[look](https://a.example 'no title')", "[look](https://a.example 'no title')"),
        ('[look](https://a.example "title") <https://b.example>', "look https://b.example"),
        ("```py\nx = '**'\n``` `a*b*` ``c`d``", "x = '**'\n a*b* c`d"),
        ("\\*not\\* \\_this\\_", "*not* _this_"),
        ("# Title\n-# small\n> quoted\n#hash", "Title\nsmall\nquoted\n#hash"),
        ("<b>not HTML</b> &amp;", "<b>not HTML</b> &amp;"),
    ],
)
def test_a_reader_of_discord_sees(text: str, reader_sees: str) -> None:
    assert seen("discord", text) == reader_sees


@pytest.mark.parametrize(
    ("text", "reader_sees"),
    [
        ("*bold* _it_ ~gone~ `code`", "bold it gone code"),
        ("k*i*ll is shown as typed, and 2*3", "k*i*ll is shown as typed, and 2*3"),
        ("*not over\nlines*", "*not over\nlines*"),
        ("<@U1> <@U1|bo> <#C1|general> <#C1>", "@user @bo #general #channel"),
        ("<!here> <!channel> <!subteam^S1|@dev> <!date^1^{date}|Friday>", "@here @channel @dev Friday"),
        (
            "<https://a.example|label> <https://b.example> <mailto:c@d.example>",
            "label https://b.example c@d.example",
        ),
        ("a &lt;b&gt; &amp;amp; `x&lt;y`", "a <b> &amp; x<y"),
        ("&gt; quoted\nnot", "quoted\nnot"),
        (":smile: stays", ":smile: stays"),
    ],
)
def test_a_reader_of_slack_sees(text: str, reader_sees: str) -> None:
    assert seen("slack", text) == reader_sees


@pytest.mark.parametrize(
    ("text", "reader_sees"),
    [
        ("<p>k<b></b>i<x>l</x>l</p>", "kill"),
        ('<div>Hi <at id="0">Bo</at></div><div>two</div>', "Hi Bo\ntwo"),
        ("a<br>b<br/>c", "a\nb\nc"),
        ("&lt;b&gt; &#75;&#x69;&eacute;&hearts;", "<b> Kié♥"),
        ('<img data-mx-emoticon src="mxc://a" alt=":cat:"> <emoji alt=\'&#128512;\'></emoji>', ":cat: \U0001f600"),
        ("x<script>var y = '<p>';</script><style>b</style>z", "xz"),
        ("x<!-- no <b> -->y", "xy"),
        ("<!-->k<b></b>ill <!--->them <!-- x --!>all", "kill them all"),
        ("ki<!--!>no-->ll ki<!---!>no-->ll", "kill kill"),
        ('<p =">hidden words">x</p>', 'hidden words">x'),
        ('<a b="c"=">seen">y</a> <a/=">seen">y</a>', 'seen">y seen">y'),
        ("k<b title='>'></b>i<b title=\"<\"></b>ll", "kill"),
        ("<title>kill</title> <object>them</object>", "kill them"),
        ("&#000000000107;ill &#x00000000074;hem", "kill them"),
        ("a <b never closed", "a <b never closed"),
        ('<a href="https://a.example">label</a>', "label"),
        ('<span data-mx-spoiler="why">hidden</span>', "hidden"),
        ("<pre><code>a &amp;&amp; b</code></pre>", "a && b"),
        ("<table><tr><td>1</td><td>2</td></tr></table>", "1 2"),
        ("i <3 you, a < b", "i <3 you, a < b"),
        ('<attachment id="7"></attachment>look', "look"),
        (f"&#{'9' * 5000};", f"&#{'9' * 5000};"),
    ],
)
def test_a_reader_of_html_sees(text: str, reader_sees: str) -> None:
    assert seen("html", text) == reader_sees


@pytest.mark.parametrize(
    ("text", "reader_sees"),
    [
        ("k**i**ll k*i*ll k~~i~~ll", "kill kill kill"),
        ("a__b__c snake_case", "a__b__c snake_case"),
        ("__bold__ _it_", "bold it"),
        ("*not over\n\nparagraphs*", "*not over\n\nparagraphs*"),
        ('[label](https://a.example "t") ![alt](b.png) <https://c.example>', "label alt https://c.example"),
        ("[a [b](c) d](e)", "a b d"),
        ("[ ](https://chat.example/channel/x?msg=1) answer", "  answer"),
        ("```py\nx\n```\ny `a*b*`", "x\n\ny a*b*"),
        ("~~~\n*code*\n~~~~\nnot", "*code*\n\nnot"),
        ("``` never *closed*", "``` never closed"),
        ("@**Bo|3** @_**Bo** #**team>topic**", "@Bo @Bo #team>topic"),
        ("&lt;i&gt; &copy; &nosuch;", "<i> © &nosuch;"),
        ("> quoted\n## Title", "quoted\nTitle"),
        ("<p>made by <strong>Zulip</strong></p>", "made by Zulip"),
    ],
)
def test_a_reader_of_markdown_sees(text: str, reader_sees: str) -> None:
    assert seen("markdown", text) == reader_sees


@pytest.mark.parametrize(
    ("markup", "text", "own"),
    [
        ("discord", "> theirs\nmine", "mine"),
        ("discord", "mine\n> theirs\nmine too", "mine\nmine too"),
        ("discord", "mine\n>>> theirs\nand theirs", "mine"),
        ("discord", ">no space, no quote", ">no space, no quote"),
        ("discord", "```\n> shown as code\n```\n> theirs", "```\n> shown as code\n```"),
        ("slack", "&gt; theirs\nmine &gt; 3", "mine &gt; 3"),
        ("slack", "&gt;theirs\nmine", "mine"),
        ("slack", "mine\n&gt;&gt;&gt; theirs\nand theirs", "mine"),
        ("slack", "```\n&gt; shown as code\n```", "```\n&gt; shown as code\n```"),
        ("html", "<mx-reply><blockquote>theirs</blockquote></mx-reply><b>mine</b>", "<b>mine</b>"),
        ("html", "1<blockquote>a<BLOCKQUOTE cite='x'>b</BLOCKQUOTE>c</blockquote>2", "12"),
        ("html", "mine<blockquote>never closed", "mine"),
        ("html", "mine</blockquote>mine", "mine</blockquote>mine"),
        ("html", "1<!--<blockquote>-->mine", "1<!--<blockquote>-->mine"),
        ("html", "1<b title='<blockquote>'>mine</b>", "1<b title='<blockquote>'>mine</b>"),
        ("html", "> <@bo:chat.example> theirs\n> and theirs\n\nmine", "mine"),
        ("html", "> * <@bo:chat.example> waves\n\nmine", "mine"),
        ("html", "> typed by the author", "> typed by the author"),
        ("markdown", "> theirs\nmine", "mine"),
        ("markdown", "   >theirs\nmine", "mine"),
        ("markdown", "```\n> shown as code\n```\n> theirs\nmine", "```\n> shown as code\n```\nmine"),
        ("markdown", "@_**Bo|3** said:\n```quote\ntheirs\n```\nmine", "@_**Bo|3** said:\nmine"),
        ("markdown", "~~~~ quote\n```\ntheirs\n```\n~~~~\nmine", "mine"),
        ("markdown", "<p>mine</p><blockquote>theirs</blockquote>", "<p>mine</p>"),
    ],
)
def test_a_quote_of_others_is_left_out(markup: Markup, text: str, own: str) -> None:
    assert kept(markup, text) == own


def test_a_message_that_is_only_a_quote_is_left_empty_for_the_shape_to_decide() -> None:
    assert kept("discord", "> theirs") == ""


@pytest.mark.parametrize("markup", WITH_MARKUP)
def test_a_text_without_markup_is_returned_itself(markup: Markup) -> None:
    text = "Plain words, 3 of them: one, two. And (these)?"
    assert seen(markup, text) is text
    assert kept(markup, text) is text


@pytest.mark.parametrize("platform", [discord, slack, markdown])
@given(text=TEXTS)
def test_no_markup_is_missed_in_a_text_that_gets_no_rules(platform: ModuleType, text: str) -> None:
    if not platform.rules(text):
        assert edited(text, platform.edits(text)) == text


def test_dashes_arrows_and_hashtags_are_no_markup_of_discord() -> None:
    assert not discord.rules("a well-known #general, 5->6, a#b")
    assert discord.rules("a\n# Title")
    assert discord.rules("a\n-# small")
    assert discord.rules("a\n> quoted")


@pytest.mark.parametrize("markup", WITH_MARKUP)
@given(text=TEXTS)
def test_any_text_can_be_read(markup: Markup, text: str) -> None:
    assert isinstance(seen(markup, text), str)
    assert len(kept(markup, text)) <= len(text)


@pytest.mark.parametrize("markup", WITH_MARKUP)
@given(text=TEXTS)
def test_the_words_of_a_text_without_tags_stay(markup: Markup, text: str) -> None:
    """Markup removes signs. Only a tag, an address or the name of a code's language may take letters with it."""
    plain = "".join(one for one in text if one.isalpha() or one in "*_|\n ")
    letters = [one for one in plain if one.isalpha()]
    assert [one for one in seen(markup, plain) if one.isalpha()] == letters


@pytest.mark.parametrize("markup", ["discord", "slack", "markdown"])
def test_a_text_with_very_much_markup_is_rendered_in_part(markup: Markup) -> None:
    text = "*a* " * inline.PIECES_MAX
    rendered = seen(markup, text)
    assert rendered.startswith("a a a ")
    assert rendered.endswith("*a* *a* ")
