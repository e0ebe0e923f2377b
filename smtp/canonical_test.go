package smtp

import (
	"bytes"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var contents = []struct{ name, in, want string }{
	{"empty", "", ""},
	{"canonical", "a\r\nb\r\n", "a\r\nb\r\n"},
	{"no end", "a\r\nb", "a\r\nb\r\n"},
	{"bare LF", "a\nb\n\nc", "a\r\nb\r\n\r\nc\r\n"},
	{"bare CR", "a\rb\r", "a\r\nb\r\n"},
	{"CR CR LF", "a\r\r\nb", "a\r\nb\r\n"},
	{"many CRs and LF", "a\r\r\r\r\nb\r\n", "a\r\nb\r\n"},
	{"CR CR", "a\r\rb", "a\r\n\r\nb\r\n"},
	{"only CR", "\r", "\r\n"},
	{"only LF", "\n", "\r\n"},
	{"LF CR", "a\n\rb", "a\r\n\r\nb\r\n"},
	{"A09 LF dot LF", "a\n.\nb", "a\r\n.\r\nb\r\n"},
	{"A09 LF dot CRLF", "a\n.\r\nb", "a\r\n.\r\nb\r\n"},
	{"A09 CRLF dot LF", "a\r\n.\nb", "a\r\n.\r\nb\r\n"},
	{"A10 CR dot CRLF", "a\r.\r\nb", "a\r\n.\r\nb\r\n"},
	{"A10 CR dot CR", "a\r.\rb", "a\r\n.\r\nb\r\n"},
	{"A10 CRCRLF dot CRLF", "a\r\r\n.\r\nb", "a\r\n.\r\nb\r\n"},
	{"dots", ".\r\n..\r\n.a\r\n...", ".\r\n..\r\n.a\r\n...\r\n"},
	{"8 bit", "\xff\xfe\r\n", "\xff\xfe\r\n"},
}

// reference is the rule in other words.
func reference(in string) string {
	s := regexp.MustCompile(`\r+\n|\r|\n`).ReplaceAllString(in, "\x00\x01")
	s = strings.ReplaceAll(s, "\x00\x01", "\r\n")
	if s != "" && !strings.HasSuffix(s, "\r\n") {
		s += "\r\n"
	}
	return s
}

// wire sends in through canonicalizer and stuffer in blocks of n.
func wire(t testing.TB, in string, n int) (canon, stuffed string, f facts) {
	var a, b bytes.Buffer
	c := &canonicalizer{w: io.MultiWriter(&a, &stuffer{w: &b})}
	for p := []byte(in); len(p) > 0; {
		k := min(n, len(p))
		m, err := c.Write(p[:k])
		require.NoError(t, err)
		require.Equal(t, k, m)
		p = p[k:]
	}
	require.NoError(t, c.Close())
	return a.String(), b.String() + ".\r\n", c.facts
}

func checkWire(t testing.TB, in string, n int) {
	want := reference(in)
	canon, stuffed, f := wire(t, in, n)
	require.Equal(t, want, canon)
	assert.Equal(t, int64(len(want)), f.size)
	longest := 0
	for line := range strings.SplitSeq(want, "\r\n") {
		longest = max(longest, len(line))
	}
	assert.Equal(t, longest, f.longest)
	// One end, at the end, and the server gets back what we meant.
	require.Equal(t, 1, strings.Count("\r\n"+stuffed, "\r\n.\r\n"))
	require.True(t, strings.HasSuffix("\r\n"+stuffed, "\r\n.\r\n"))
	var back strings.Builder
	for line := range strings.SplitAfterSeq(strings.TrimSuffix(stuffed, ".\r\n"), "\r\n") {
		back.WriteString(strings.TrimPrefix(line, "."))
	}
	require.Equal(t, want, back.String())
}

func TestCanonical(t *testing.T) {
	for _, tt := range contents {
		t.Run(tt.name, func(t *testing.T) {
			require.Equal(t, tt.want, reference(tt.in), "the test's own rule")
			for n := 1; n <= len(tt.in)+1; n++ {
				checkWire(t, tt.in, n)
			}
		})
	}
	_, _, f := wire(t, "a\x00b", 10)
	assert.True(t, f.nul)
	assert.False(t, f.eightBit)
	for i := range 80 {
		in := []byte(strings.Repeat("x", 80))
		in[i] = 0x80
		_, _, f := wire(t, string(in), 100)
		assert.True(t, f.eightBit, "8-bit octet at %d", i)
	}
}

func FuzzCanonical(f *testing.F) {
	for _, tt := range contents {
		f.Add(tt.in, uint8(3))
	}
	f.Fuzz(func(t *testing.T, in string, n uint8) {
		if strings.ContainsAny(in, "\x00\x01") {
			t.Skip("the reference uses them as marks")
		}
		checkWire(t, in, int(n)+1)
	})
}

func BenchmarkTransmit(b *testing.B) {
	for _, tt := range []struct{ name, line string }{
		{"base64", strings.Repeat("QUJD", 19) + "\r\n"},
		{"LF", strings.Repeat("QUJD", 19) + "\n"},
	} {
		in := []byte(strings.Repeat(tt.line, 1<<20/len(tt.line)))
		b.Run(tt.name, func(b *testing.B) {
			b.SetBytes(int64(len(in)))
			for b.Loop() {
				c := &canonicalizer{w: &stuffer{w: io.Discard}}
				for p := in; len(p) > 0; {
					k := min(copyBlock, len(p))
					_, _ = c.Write(p[:k])
					p = p[k:]
				}
				_ = c.Close()
			}
		})
	}
}
