package mime

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var htmlCases = []struct{ name, in, want string }{
	{"empty", "", ""},
	{"plain", "one  two\n three", "one two three\n"},
	{"paragraphs", "<p>one</p><p>two<br>three</p>", "one\n\ntwo\nthree\n"},
	{"head is skipped", "<html><head><title>T</title><style>p{}</style></head><body>x<script>if (a<b) don't()</script>y</body>", "xy\n"},
	{"entities", "a&nbsp;b &lt;c&gt; &eacute;", "a b <c> é\n"},
	{"bullets", "<ul><li>one<li>two</ul>after", "* one\n* two\nafter\n"},
	{"numbers", "<ol start=3><li>one</li><li>two</li></ol>", "3. one\n4. two\n"},
	{"nested list", "<ul><li>a<ul><li>b</li></ul></li><li>c</li></ul>", "* a\n  * b\n* c\n"},
	{"link", `see <a href="https://example.com/x">here</a>.`, "see here <https://example.com/x>.\n"},
	{"link that says itself", `<a href="https://example.com/">example.com</a>`, "example.com\n"},
	{"mail link", `<a href="mailto:a@example.com?subject=x">write</a>`, "write <a@example.com>\n"},
	{"script link", `<a href="javascript:alert(1)">click</a>`, "click\n"},
	{"table", "<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>", "a | b\n1 | 2\n"},
	{"quote", "<p>he said</p><blockquote><p>one</p><p>two</p></blockquote><p>so</p>", "he said\n\n> one\n>\n> two\n\nso\n"},
	{"preformatted", "<pre>a  b\n  c</pre>", "a  b\n  c\n"},
	{"image", `<img src="cid:1" alt="a cat">`, "[a cat]\n"},
	{"unclosed quote in attribute", `<a href=don't>x</a> y`, "x y\n"},
	{"comment", "a<!-- <b title=\" -->b", "ab\n"},
	{"hard blanks make no lines", "<p>&nbsp;</p><p>a&nbsp;b</p><p>&nbsp;</p><p>&nbsp;</p>c", "a b\n\nc\n"},
	{"nested tables", "<table><tr><td><table><tr><td>a</td><td>b</td></tr></table></td></tr><tr><td>c</td></tr></table>", "a | b\n\nc\n"},
	{"quotes in quotes", "<blockquote type=cite>one<blockquote>two</blockquote></blockquote>so", "> one\n>\n> > two\n\nso\n"},
	{"linked image", `<a href="https://x.org/p"><img src=a.png alt="Logo"></a>`, "[Logo] <https://x.org/p>\n"},
	{"definition list", "<dl><dt>term<dd>what it is</dl>", "term\n   what it is\n"},
	{"conditional comments", "a<!--[if mso]><p>mso</p><![endif]--><![if !mso]>b<![endif]>", "ab\n"},
	{"object", `a<object data="cid:x"><p>instead</p></object>b`, "a\n\ninstead\n\nb\n"},
	{"object that closes itself", `<p>a</p><object data="x" />b`, "a\n\nb\n"},
	{"noscript", "a <noscript><p>no <b>scripts</b> here</p></noscript>b", "a\n\nno scripts here\n\nb\n"},
	{"noframes", "<noframes><p>a</p></noframes>b", "a\n\nb\n"},
	{"template", "a<template><p>x</p><template>y</template>z</template>b", "ab\n"},
	{"template that closes itself", "a<template/>b", "ab\n"},
	{"template without an end", "<p>one<template>x<p>two<script>if (a<b)</script>", "onex\n\ntwo\n"},
	{"templates without an end", "<p>one<template><template>x</template>two", "onextwo\n"},
	{"end of no template", "a</template>b", "ab\n"},
	{"title that closes itself", "<title/>a", "a\n"},
	{"comment of no length", "<!-->a<!--->b<!---->c", "abc\n"},
	{"comment with a wrong end", "a<!-- x --!>b<!-- -- ! > -->c", "abc\n"},
	{"instruction that looks like a comment", "<?--x>a", "a\n"},
	{"non-joiner in a word", "می\u200cخواهم <b>نمی</b>&zwnj;<i>شود</i>", "می\u200cخواهم نمی\u200cشود\n"},
	{"non-joiner that is fill", "a\u200c b \u200cc&zwnj;&nbsp;&zwnj;d \u200c\u00ad\u200c e<p>\u200c</p>\u200cf\u200c\u200b\u200cg\u200c", "a b c d e\n\nfg\n"},
	{"control characters", "a\x00b\x1bc", "abc\n"},
}

func TestHTMLToText(t *testing.T) {
	for _, c := range htmlCases {
		t.Run(c.name, func(t *testing.T) {
			var b strings.Builder
			require.NoError(t, HTMLToText(strings.NewReader(c.in), &b))
			assert.Equal(t, c.want, b.String())
			b.Reset()
			require.NoError(t, HTMLToText(iotest.OneByteReader(strings.NewReader(c.in)), &b))
			assert.Equal(t, c.want, b.String(), "byte by byte")
		})
	}
}

// A giant token must neither be held in memory nor end the text.
func TestHTMLToTextGiantTokens(t *testing.T) {
	giant := strings.Repeat("x", 4<<20+1<<18)
	for name, in := range map[string]string{
		"attribute": `<p>before <img src="` + giant + `">after</p>`,
		"comment":   "<p>before <!--" + giant + "-->after</p>",
		"script":    "<p>before <script>" + giant + "</SCRIPT>after</p>",
	} {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			require.NoError(t, HTMLToText(strings.NewReader(in), &b))
			assert.Equal(t, "before after\n", b.String())
		})
	}
	t.Run("comments that end early", func(t *testing.T) {
		for _, open := range []string{"<!-->", "<!--->", "<!-- x --!>", "<?-- x >"} {
			var b strings.Builder
			require.NoError(t, HTMLToText(strings.NewReader(open+strings.Repeat("text ", maxTextRun)+"end"), &b))
			assert.Equal(t, strings.Repeat("text ", maxTextRun)+"end\n", b.String(), open)
		}
	})
	t.Run("template", func(t *testing.T) {
		for _, end := range []string{"", "</template>"} {
			var b strings.Builder
			require.NoError(t, HTMLToText(strings.NewReader("before <template>"+strings.Repeat("<b>text</b> ", maxTemplate)+end+"after"), &b))
			assert.Equal(t, "before "+strings.Repeat("text ", maxTemplate)+"after\n", b.String(), "too long to be one")
		}
	})
	t.Run("text", func(t *testing.T) {
		var b strings.Builder
		require.NoError(t, HTMLToText(strings.NewReader(giant), &b))
		assert.Equal(t, giant+"\n", b.String())
	})
	t.Run("tag", func(t *testing.T) {
		var limit *LimitError
		require.ErrorAs(t, HTMLToText(strings.NewReader("a <p "+giant+">b"), io.Discard), &limit)
		assert.Equal(t, "HTMLToken", limit.Limit)
	})
}

func FuzzHTMLToText(f *testing.F) {
	for _, c := range htmlCases {
		f.Add(c.in)
	}
	f.Fuzz(func(t *testing.T, in string) {
		var b strings.Builder
		require.NoError(t, HTMLToText(strings.NewReader(in), &b))
		assert.NotContains(t, b.String(), "\x00")
	})
}
