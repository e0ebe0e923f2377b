package mime

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// uuFixture uuencodes data.
func uuFixture(name string, data []byte) string {
	char := func(v byte) byte {
		if v == 0 {
			return '`'
		}
		return v + ' '
	}
	var b strings.Builder
	fmt.Fprintf(&b, "begin 644 %s\n", name)
	for len(data) > 0 {
		line := data[:min(45, len(data))]
		data = data[len(line):]
		b.WriteByte(char(byte(len(line))))
		for i := 0; i < len(line); i += 3 {
			var q [3]byte
			copy(q[:], line[i:])
			b.Write([]byte{char(q[0] >> 2), char(q[0]<<4&63 | q[1]>>4), char(q[1]<<2&63 | q[2]>>6), char(q[2] & 63)})
		}
		b.WriteByte('\n')
	}
	return b.String() + "`\nend\n"
}

// yEncFixture encodes data as one yEnc file.
func yEncFixture(name string, data []byte) string {
	var b strings.Builder
	fmt.Fprintf(&b, "=ybegin line=128 size=%d name=%s\n", len(data), name)
	col := 0
	for _, c := range data {
		if c += 42; c == 0 || c == '\n' || c == '\r' || c == '=' || c == '.' && col == 0 {
			b.WriteString("=" + string([]byte{c + 64}))
			col++
		} else {
			b.WriteByte(c)
		}
		if col++; col >= 128 {
			b.WriteByte('\n')
			col = 0
		}
	}
	fmt.Fprintf(&b, "\n=yend size=%d crc32=%08x\n", len(data), crc32.ChecksumIEEE(data))
	return b.String()
}

func allBytes(n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(i * 7)
	}
	return data
}

func TestFilesInText(t *testing.T) {
	data := allBytes(1000)
	uu, yenc := uuFixture("a b.bin", data), yEncFixture("c d.bin", data)
	cases := []struct {
		name, in string
		text     string
		files    []string
		defects  []DefectCode
	}{
		{"none", "hello\nbegin with this\nbye\n", "hello\nbegin with this\nbye\n", nil, nil},
		{"uu alone", uu, "", []string{"a b.bin"}, nil},
		{"uu in text", "before\n" + uu + "after\n", "before\nafter\n", []string{"a b.bin"}, nil},
		{"two", "x\n" + uu + "y\n" + uu + "z", "x\ny\nz", []string{"a b.bin", "a b.bin"}, nil},
		{"yenc in text", "before\n" + yenc + "after\n", "before\nafter\n", []string{"c d.bin"}, nil},
		{"both", uu + yenc, "", []string{"a b.bin", "c d.bin"}, nil},
		{"begin line in prose", "begin 644 things\nat the beginning\n", "begin 644 things\nat the beginning\n", nil, nil},
		{"begin line at the end", "x\nbegin 644 things", "x\nbegin 644 things", nil, nil},
		{"begin line twice", "begin 644 x\n" + uu, "begin 644 x\n", []string{"a b.bin"}, nil},
		{"not at the start of a line", "> " + uu[:12], "> " + uu[:12], nil, nil},
		{"no end", "x\n" + strings.TrimSuffix(uu, "end\n"), "x\n", []string{"a b.bin"}, []DefectCode{DefectUUEncode}},
		{"text instead of the end", strings.TrimSuffix(uu, "`\nend\n") + "Greetings, and so on\n", "Greetings, and so on\n", []string{"a b.bin"}, []DefectCode{DefectUUEncode}},
		{"yenc torn", yenc[:700], "", nil, []DefectCode{DefectYEnc}},
		{"yenc with a wrong checksum", strings.Replace(yenc, "crc32=", "crc32=1", 1), "", []string{"c d.bin"}, []DefectCode{DefectYEnc}},
		{"unsafe name", uuFixture("../x", data), "", []string{"../x"}, []DefectCode{DefectUnsafeName}},
	}
	for _, c := range cases {
		for _, ends := range []string{"\n", "\r\n"} {
			in := "Subject: x\n\n" + strings.ReplaceAll(c.in, "\n", ends)
			for how, r := range map[string]io.Reader{"whole": strings.NewReader(in), "bytewise": iotest.OneByteReader(strings.NewReader(in))} {
				got := bodies{}
				p, err := Parse(r, got, WithExpansion())
				require.NoError(t, err)
				name := c.name + " " + how
				assert.Equal(t, strings.ReplaceAll(c.text, "\n", ends), got[""], name)
				if c.files != nil {
					require.Len(t, p.Children, len(c.files), name)
				}
				for i, f := range c.files {
					assert.Equal(t, f, p.Children[i].Name, name)
					assert.True(t, p.Children[i].Virtual)
					assert.Equal(t, string(data), got[p.Children[i].Path], name)
				}
				assert.Equal(t, c.defects, codes(p), name)
			}
		}
	}
}

func TestFilesInTextOnlyWhenAsked(t *testing.T) {
	in := "Subject: x\n\n" + uuFixture("a", []byte("data"))
	p, got, err := parseString(in)
	require.NoError(t, err)
	assert.Empty(t, p.Children)
	assert.Contains(t, got[""], "begin 644 a")
	p, _, err = parseString("Content-Disposition: attachment; filename=a.txt\n\n"+uuFixture("a", []byte("data")), WithExpansion())
	require.NoError(t, err)
	assert.Empty(t, p.Children, "a text file is the sender's, not ours to cut")
}

func TestFilesInTextKeepTheLimits(t *testing.T) {
	in := "Subject: x\n\n" + strings.Repeat(uuFixture("a", []byte("data")), 50)
	_, _, err := parseString(in, WithExpansion(), WithLimits(Limits{Parts: 20}))
	var le *LimitError
	require.ErrorAs(t, err, &le)
	assert.Equal(t, "Parts", le.Limit)
	_, _, err = parseString(in, WithExpansion(), WithLimits(Limits{DecodedBytes: 100}))
	require.ErrorAs(t, err, &le)
	assert.Equal(t, "DecodedBytes", le.Limit)
}

func TestYEncParts(t *testing.T) {
	data := allBytes(300)
	whole := yEncFixture("x", data[100:])
	whole = strings.Replace(whole, "=ybegin line=128 size=200", "=ybegin part=2 total=2 line=128 size=300", 1)
	whole = strings.Replace(whole, "\n", "\n=ypart begin=101 end=300\n", 1)
	whole = strings.Replace(whole, "crc32=", "part=2 pcrc32=", 1)
	got := bodies{}
	p, err := Parse(strings.NewReader("X: y\n\n"+whole), got, WithExpansion())
	require.NoError(t, err)
	assert.Empty(t, codes(p))
	assert.True(t, bytes.Equal(data[100:], []byte(got["1"])))
}
