package mime

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func unflow(t require.TestingT, in string, delSp bool, piece int) string {
	var out bytes.Buffer
	d := NewFlowedDecoder(&out, delSp)
	for in != "" {
		n := min(piece, len(in))
		_, err := d.Write([]byte(in[:n]))
		require.NoError(t, err)
		in = in[n:]
	}
	require.NoError(t, d.Close())
	return out.String()
}

func TestFlowedDecoder(t *testing.T) {
	cases := []struct {
		name, in, want string
		delSp          bool
	}{
		{"fixed", "a\nb\n", "a\nb\n", false},
		{"joined", "one \ntwo \nthree\nfour", "one two three\nfour", false},
		{"DelSp", "on \ne\ntwo\n", "one\ntwo\n", true},
		{"CRLF", "one \r\ntwo\r\n", "one two\n", false},
		{"stuffed", " From me\n  x\n >no quote\n", "From me\n x\n>no quote\n", false},
		{"quotes", "> one \n> two\n>> deep \n> less\nmine\n", "> one two\n>> deep \n> less\nmine\n", false},
		{"quote without blank", ">one \n>two\n>\n", "> one two\n>\n", false},
		{"signature", "end \n-- \nme \nhere\n", "end \n-- \nme here\n", false},
		{"open at the end", "one ", "one ", false},
		{"open line at the end", "one \n", "one \n", false},
		{"empty lines", "a\n\n\nb", "a\n\n\nb", false},
		{"nothing", "", "", false},
		{"giant line", strings.Repeat("x", 100_000) + " \ny\r\n", strings.Repeat("x", 100_000) + " \ny\n", false},
	}
	for _, c := range cases {
		for _, piece := range []int{1, 7, 1 << 20} {
			assert.Equal(t, c.want, unflow(t, c.in, c.delSp, piece), "%s in pieces of %d", c.name, piece)
		}
	}
}

func TestFlowedEncode(t *testing.T) {
	long := strings.Repeat("word ", 30) + "end"
	for _, line := range strings.Split(encodeFlowed("> "+long+"\n"), "\n") {
		assert.LessOrEqual(t, len(line), flowedWidth)
		assert.True(t, line == "" || strings.HasPrefix(line, "> "), line)
	}
	assert.Equal(t, "-- \nx\n", encodeFlowed("-- \nx\n"))
	for _, quote := range []string{"", "> "} {
		text := quote + "-- " + strings.Repeat("字", 50) + " and " + strings.Repeat("more ", 30) + "-- " + strings.Repeat("x", 90) + "\n"
		assert.Equal(t, text, unflow(t, encodeFlowed(text), false, 7), "no signature line comes of a dash in the text")
	}
	assert.Equal(t, " From a\n", encodeFlowed("From a\n"))
}

// What is written as flowed is read back the same, blanks at line ends apart.
func TestFlowedRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOfN(rapid.StringMatching(`(>{0,3} )?([a-zäö>]{1,20} {1,2}){0,30}[a-z.]{0,90}|-- |From x| x|`), 0, 8).Draw(t, "lines")
		var want []string
		for _, l := range lines {
			if strings.TrimLeft(l, ">") == " "+signatureLine || l == signatureLine {
				want = append(want, l)
				continue
			}
			l = strings.TrimRight(l, " ")
			depth := len(l) - len(strings.TrimLeft(l, ">"))
			if rest := strings.TrimPrefix(l[depth:], " "); depth > 0 && rest != "" {
				l = l[:depth] + " " + rest
			}
			want = append(want, l)
		}
		text := strings.Join(lines, "\n")
		got := unflow(t, encodeFlowed(text), false, 5)
		if got != strings.Join(want, "\n") {
			t.Fatalf("%q\n became %q\n read   %q\n want   %q", text, encodeFlowed(text), got, strings.Join(want, "\n"))
		}
	})
}
