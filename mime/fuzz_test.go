package mime

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// FuzzMultipart checks what holds for any body below a multipart: the tree does
// not depend on how the message is read, raw parts lie inside of each other,
// and no byte of a leaf is made up.
func FuzzMultipart(f *testing.F) {
	for _, s := range []string{
		"--b\n\nx\n--b--\n", "pre\n--b\nContent-Type: multipart/mixed; boundary=c\n\n--c\n\ny\n--c--\n--b\n\nz\n--b--\nepilogue", "--b\n--b\n--b--\n", "--b  \r\n\r\nx\r\n--b-- \r\n",
		"--b\nContent-Type: multipart/mixed; boundary=bb\n\n--bb\n\nx\n--b\n\ny", "--b\nContent-Type: message/rfc822\n\nSubject: x\n\n--b--", "no delimiter at all", "--b\nSubject: x\n--b--\n", "--b\r\r--b--\r",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		raw := "Content-Type: multipart/mixed; boundary=b\n\n" + string(body)
		root, got, err := parseString(raw)
		if err != nil {
			require.ErrorIs(t, err, ErrLimit)
			return
		}
		again := bodies{}
		slow, err := Parse(iotest.OneByteReader(strings.NewReader(raw)), again)
		require.NoError(t, err)
		if !strings.Contains(raw, "\r") { // line ends of CR alone are judged by the first block
			require.Equal(t, outline(root), outline(slow))
			require.Equal(t, got, again)
		}
		for p := range root.All() {
			if p.Offset < 0 || p.Parent == nil || p.Parent.Offset < 0 {
				continue
			}
			end, outer := p.BodyOffset+p.RawSize, p.Parent.BodyOffset+p.Parent.RawSize
			require.LessOrEqual(t, p.Offset, p.BodyOffset)
			require.GreaterOrEqual(t, p.Offset, p.Parent.BodyOffset)
			require.LessOrEqual(t, end, outer, "%q", raw)
			if len(p.Children) == 0 && !p.IsContainer() && p.Encoding == "" && !strings.Contains(raw, "\r") {
				data, err := io.ReadAll(p.RawBody(strings.NewReader(raw)))
				require.NoError(t, err)
				require.Equal(t, string(data), got[p.Path], "%q", raw)
			}
		}
	})
}

// FuzzFilesInText checks that the pieces a text comes in change nothing.
func FuzzFilesInText(f *testing.F) {
	for _, s := range []string{uuFixture("a b", []byte("hello")), yEncFixture("x", []byte("hello\x00=.")), "begin 644 x\nbegin 644 y\n", "=ybegin line=1 size=2 name=x\n=ypart begin=1 end=2\nab\n=yend size=2\n", "begin 644 x\n!!\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		raw := "X: y\n\n" + string(text)
		root, got, err := parseString(raw, WithExpansion())
		if err != nil {
			require.ErrorIs(t, err, ErrLimit)
			return
		}
		again := bodies{}
		slow, err := Parse(iotest.OneByteReader(strings.NewReader(raw)), again, WithExpansion())
		require.NoError(t, err)
		if !bytes.ContainsRune(text, '\r') {
			require.Equal(t, outline(root), outline(slow))
			require.Equal(t, got, again)
		}
	})
}

// FuzzFlowed checks that flowed text reads the same in any pieces, and that
// what we write can be read.
func FuzzFlowed(f *testing.F) {
	for _, s := range []string{"one \ntwo\n", "> a \n> b\n>> c \n", "-- \nx", " From a\n", strings.Repeat("long ", 40)} {
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, text string, delSp bool) {
		require.Equal(t, unflow(t, text, delSp, 1<<20), unflow(t, text, delSp, 3))
		_ = unflow(t, encodeFlowed(text), false, 1<<20)
	})
}

// FuzzHeader checks what holds for any header: a value is one line of valid
// UTF-8 once it is decoded, and what is found can be found again.
func FuzzHeader(f *testing.F) {
	for _, s := range []string{"Subject: x\nTo: a@b\n", " fold first\nSubject: x\n y\n\tz\n", "From x\nA : b\r\nC:d\n\nbody", ":\n", "A:\x00\xff\r\rB: c", "Subject: =?utf-8?b?DQpCY2M6?= x\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		h := ParseHeader(raw)
		n := 0
		for field := range h.Fields() {
			n++
			require.NotContains(t, field.Name, "\n")
			require.NotContains(t, field.Value, "\n")
			require.NotContains(t, field.Value, "\r")
			require.True(t, h.Has(field.Name))
			require.Contains(t, h.Values(field.Name), field.Value)
			text := h.Text(field.Name)
			require.True(t, utf8.ValidString(text))
			require.Equal(t, -1, strings.IndexFunc(text, isControl))
			for _, a := range h.Addresses(field.Name) {
				require.Equal(t, -1, strings.IndexFunc(a.String(), isControl))
			}
			for _, id := range h.MessageIDs(field.Name) {
				require.NotContains(t, id, ">")
			}
		}
		require.Equal(t, h.Len(), n)
	})
}
