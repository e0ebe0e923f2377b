package pop3

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

var unstuffCases = []struct {
	name, wire, want string
	ended            bool
}{
	{"empty mail", ".\r\n", "", true},
	{"one line", "a\r\n.\r\n", "a\r\n", true},
	{"stuffed dot", "..a\r\n.\r\n", ".a\r\n", true},
	{"line of one dot", "..\r\n.\r\n", ".\r\n", true},
	{"dot inside a line", "a.b\r\na.\r\n.\r\n", "a.b\r\na.\r\n", true},
	{"F18 bare LF, dot, LF is content", "a\n.\nb\r\n.\r\n", "a\n.\nb\r\n", true},
	{"bare LF, dot, CRLF is content", "a\n.\r\nb\r\n.\r\n", "a\n.\r\nb\r\n", true},
	{"CRLF, dot, LF is content", "a\r\n.\nb\r\n.\r\n", "a\r\n\nb\r\n", true},
	{"bare CR, dot, CR is content", "a\r.\rb\r\n.\r\n", "a\r.\rb\r\n", true},
	{"CR CR LF, dot", "a\r\r\n.\r\n", "a\r\r\n", true},
	{"dot, CR, text", ".\rx\r\n.\r\n", "\rx\r\n", true},
	{"dot, CR, CR, LF", ".\r\r\n.\r\n", "\r\r\n", true},
	{"unstuffed dot is taken for stuffing", ".a\r\n.\r\n", "a\r\n", true},
	{"empty lines", "\r\n\r\n.\r\n", "\r\n\r\n", true},
	{"NUL and 8 bit", "\x00\xff\r\n.\r\n", "\x00\xff\r\n", true},
	{"behind the end", "a\r\n.\r\n+OK next", "a\r\n", true},
	{"no end", "a\r\n", "a\r\n", false},
	{"end without CRLF", "a\r\n.", "a\r\n", false},
	{"end without LF", "a\r\n.\r", "a\r\n", false},
}

func TestUnstuff(t *testing.T) {
	for _, c := range unstuffCases {
		t.Run(c.name, func(t *testing.T) {
			// Every way to cut what arrives, and every size of the buffer to
			// fill, must give the same bytes.
			for step := 1; step <= len(c.wire); step++ {
				for room := 1; room <= 5; room++ {
					got, ended, rest := runUnstuffer([]byte(c.wire), step, room)
					assert.Equal(t, c.want, string(got), "pieces of %d into %d", step, room)
					assert.Equal(t, c.ended, ended)
					if i := strings.Index(c.wire, "+OK next"); i >= 0 {
						assert.Equal(t, "+OK next", string(rest))
					}
				}
			}
		})
	}
}

// runUnstuffer feeds wire in pieces and returns what was not taken.
func runUnstuffer(wire []byte, step, room int) (got []byte, ended bool, rest []byte) {
	var u unstuffer
	dst := make([]byte, room)
	for len(wire) > 0 && u.at != atEnd {
		piece := wire[:min(step, len(wire))]
		for len(piece) > 0 && u.at != atEnd {
			wrote, took := u.next(dst, piece)
			got = append(got, dst[:wrote]...)
			piece, wire = piece[took:], wire[took:]
		}
	}
	return got, u.at == atEnd, wire
}

// slowUnstuff is the definition: split at CRLF, a lone dot ends, a leading dot
// goes.
func slowUnstuff(wire string) (content string, ended bool) {
	var b strings.Builder
	for {
		line, rest, whole := strings.Cut(wire, "\r\n")
		if whole && line == "." {
			return b.String(), true
		}
		b.WriteString(strings.TrimPrefix(line, "."))
		if !whole {
			return b.String(), false
		}
		b.WriteString("\r\n")
		wire = rest
	}
}

func FuzzUnstuff(f *testing.F) {
	for _, c := range unstuffCases {
		f.Add([]byte(c.wire), uint8(3), uint8(7))
	}
	f.Fuzz(func(t *testing.T, wire []byte, step, room uint8) {
		got, ended, _ := runUnstuffer(wire, int(step)+1, int(room)+1)
		want, wantEnded := slowUnstuff(string(wire))
		assert.Equal(t, wantEnded, ended)
		if ended {
			assert.Equal(t, want, string(got))
		} else {
			// What is cut inside a terminator may lack its CR.
			assert.True(t, bytes.HasPrefix([]byte(want), got))
		}
	})
}

func BenchmarkUnstuff(b *testing.B) {
	line := strings.Repeat("x", 76) + "\r\n"
	wire := []byte(strings.Repeat(line, 16<<10/len(line)))
	dst := make([]byte, 32<<10)
	for _, c := range []struct {
		name string
		wire []byte
	}{{"base64", wire}, {"dots", []byte(strings.Repeat("..\r\n", 4<<10))}} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.wire)))
			for b.Loop() {
				var u unstuffer
				for src := c.wire; len(src) > 0; {
					_, took := u.next(dst, src)
					src = src[took:]
				}
			}
		})
	}
}
