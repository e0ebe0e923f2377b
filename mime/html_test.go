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
