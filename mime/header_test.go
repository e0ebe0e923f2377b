package mime

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestHeader(t *testing.T) {
	h := ParseHeader([]byte("Subject: one\r\n  two\r\nX: a\r\nx: b\r\nTo: a@b, c@d\r\nTo: e@f\r\nReferences: <1@x> <2@x>\r\n\t<3@x>\r\n\r\nbody: no\r\n"))
	assert.Equal(t, 6, h.Len())
	assert.Equal(t, "one  two", h.Get("SUBJECT"))
	assert.Equal(t, []string{"a", "b"}, h.Values("X"))
	assert.True(t, h.Has("to"))
	assert.False(t, h.Has("body"))
	assert.Equal(t, []Address{{Addr: "a@b"}, {Addr: "c@d"}, {Addr: "e@f"}}, h.Addresses("To"))
	assert.Equal(t, []string{"1@x", "2@x", "3@x"}, h.MessageIDs("References"))
	assert.Contains(t, string(h.Raw()), "one\r\n  two\r\n")
	var names []string
	for f := range h.Fields() {
		names = append(names, f.Name)
	}
	assert.Equal(t, []string{"Subject", "X", "x", "To", "To", "References"}, names)
	var zero Header
	assert.Equal(t, "", zero.Text("Subject"))
}

var wordCases = []struct{ name, in, want string }{
	{"plain", "hello", "hello"},
	{"q", "=?utf-8?q?caf=C3=A9_x?=", "café x"},
	{"b", "=?UTF-8?B?Y2Fmw6k=?=", "café"},
	{"blanks between words vanish", "=?utf-8?q?a?= \t =?utf-8?q?b?= c", "ab c"},
	{"text between words stays", "=?utf-8?q?a?= and =?utf-8?q?b?=", "a and b"},
	{"character cut in two", "=?utf-8?b?w6M=?= =?utf-8?q?caf=C3?= =?utf-8?q?=A9?=", "ãcafé"},
	{"other charset", "=?iso-8859-1?q?caf=E9?= =?koi8-r?b?xw==?=", "caféг"},
	{"language", "=?utf-8*en?q?x?=", "x"},
	{"glued", "a=?utf-8?q?b?=c", "abc"},
	{"blank inside", "=?utf-8?q?a b?=", "a b"},
	{"empty word", "=?utf-8?q??= =?utf-8?q?a?=", "a"},
	{"no padding", "=?utf-8?b?Y2Fmw6k?=", "café"},
	{"padding inside", "=?utf-8?b?YQ==Yg==?=", "ab"},
	{"q ending in equals", "=?utf-8?q?a=?=", "a="},
	{"unknown charset", "=?x-none?q?caf=E9?=", "café"},
	{"not a word", "=?utf-8?x?a?= =?", "=?utf-8?x?a?= =?"},
	{"no end", "=?utf-8?q?abc", "=?utf-8?q?abc"},
	{"word in an unended word", "=?utf-8?q?abc =?utf-8?q?def?=", "=?utf-8?q?abc def"},
	{"injection", "=?utf-8?q?a=0D=0ABcc:_v@x=00?=", "a  Bcc: v@x "},
	{"8-bit utf-8", "caf\xc3\xa9", "café"},
	{"8-bit latin", "caf\xe9", "café"},
	{"utf-7", "=?utf-7?q?+AOk-?=", "é"},
	{"iso-2022-jp", "=?ISO-2022-JP?B?GyRCRnxLXBsoQg==?=", "日本"},
}

func TestDecodeText(t *testing.T) {
	for _, c := range wordCases {
		assert.Equal(t, c.want, DecodeText(c.in), c.name)
	}
}

func FuzzDecodeText(f *testing.F) {
	for _, c := range wordCases {
		f.Add(c.in)
	}
	f.Fuzz(func(t *testing.T, s string) {
		out := DecodeText(s)
		require.True(t, utf8.ValidString(out))
		require.False(t, strings.ContainsAny(out, "\r\n\x00"))
		var fo folder
		fo.text("Subject", out)
		h := ParseHeader(fo.b)
		require.Equal(t, 1, h.Len())
		require.Equal(t, strings.TrimSpace(out), strings.TrimSpace(h.Text("Subject")), "what is read can be written and read again")
	})
}

var paramCases = []struct {
	name, in, value string
	params          map[string]string
	bad             bool
}{
	{"simple", "Text/HTML; Charset=utf-8", "text/html", map[string]string{"charset": "utf-8"}, false},
	{"quoted", `a/b; name="a;b \"c\" \\d"`, "a/b", map[string]string{"name": `a;b "c" \d`}, false},
	{"windows path", `a/b; name="C:\dir\file.txt"`, "a/b", map[string]string{"name": `C:\dir\file.txt`}, false},
	{"comment", "text/plain (x;y) ; charset=us-ascii (Plain)", "text/plain", map[string]string{"charset": "us-ascii"}, false},
	{"blanks unquoted", "a/b; name=my file (1).pdf; x=y", "a/b", map[string]string{"name": "my file (1).pdf", "x": "y"}, true},
	{"no end of quote", `a/b; name="x.pdf`, "a/b", map[string]string{"name": "x.pdf"}, true},
	{"empty pieces", "a/b;;; ;name=x;", "a/b", map[string]string{"name": "x"}, false},
	{"junk", "a/b; junk; name=x", "a/b", map[string]string{"name": "x"}, true},
	{"twice", "a/b; name=x; name=y", "a/b", map[string]string{"name": "x"}, true},
	{"rfc2231", "a/b; name*=utf-8'en'caf%C3%A9", "a/b", map[string]string{"name": "café"}, false},
	{"continuations", `a/b; name*1=" two"; name*0="one"`, "a/b", map[string]string{"name": "one two"}, false},
	{"mixed continuations", `a/b; name*0*=iso-8859-1''caf%E9; name*1=" %41"; name*2*=%42`, "a/b", map[string]string{"name": "café %41B"}, false},
	{"gap", "a/b; name*0=x; name*2=z", "a/b", map[string]string{"name": "x"}, true},
	{"extended wins", "a/b; filename=x.txt; filename*=utf-8''%C3%A9.txt", "a/b", map[string]string{"filename": "é.txt"}, false},
	{"encoded word", `a/b; name="=?utf-8?q?caf=C3=A9?="`, "a/b", map[string]string{"name": "café"}, false},
	{"boundary is no text", `a/b; boundary="=?utf-8?q?x?="`, "a/b", map[string]string{"boundary": "=?utf-8?q?x?="}, false},
	{"nul and line ends", "a/b; name*=utf-8''a%00%0D%0Ab", "a/b", map[string]string{"name": "ab"}, false},
	{"missing semicolon", "a/b; charset=utf-8\tname=x", "a/b", map[string]string{"charset": "utf-8\tname=x"}, true},
	{"empty", "", "", nil, false},
}

func TestParseParams(t *testing.T) {
	for _, c := range paramCases {
		value, params, bad := parseParams(c.in, "")
		assert.Equal(t, c.value, value, c.name)
		assert.Equal(t, c.params, params, c.name)
		assert.Equal(t, c.bad, bad != "", c.name)
	}
}

func FuzzParams(f *testing.F) {
	for _, c := range paramCases {
		f.Add(c.in)
	}
	f.Fuzz(func(t *testing.T, s string) {
		_, params, _ := parseParams(unfold(s), "")
		for k, v := range params {
			require.NotContains(t, k, ";")
			if k != "boundary" && utf8.ValidString(s) {
				require.True(t, utf8.ValidString(v))
			}
			SafeName(v)
		}
	})
}

var dateCases = []struct {
	in   string
	want string // RFC 3339, "" for none
}{
	{"Mon, 2 Jan 2006 15:04:05 -0700", "2006-01-02T15:04:05-07:00"},
	{"2 Jan 2006 15:04 +0000 (UTC)", "2006-01-02T15:04:00Z"},
	{"Fri, 21 Nov 97 09:55:06 EST", "1997-11-21T09:55:06-05:00"},
	{"Fri, 21 Nov 05 09:55:06 XYZ", "2005-11-21T09:55:06Z"},
	{"Mon Jan  2 15:04:05 2006", "2006-01-02T15:04:05Z"},
	{"Mon Jan  2 15:04:05 PST 2006", "2006-01-02T15:04:05-08:00"},
	{"2006-01-02 15:04:05 +0100", "2006-01-02T15:04:05+01:00"},
	{"2006-01-02T15:04:05Z", "2006-01-02T15:04:05Z"},
	{"2006-01-02T15:04:05.123+02:00", "2006-01-02T15:04:05+02:00"},
	{"02-Jan-2006 15:04:05 GMT", "2006-01-02T15:04:05Z"},
	{"Monday, 2 January 2006 3:04:05 PM +0000", "2006-01-02T15:04:05Z"},
	{"Mon, 2 Jan 2006 15:04:05 GMT+0200", "2006-01-02T15:04:05+02:00"},
	{"Mon,2 Jan 2006 15:04:60 +0000", "2006-01-02T15:05:00Z"},
	{"Tue, 029 Apr 2019 23:34:45 -0800", "2019-04-29T23:34:45-08:00"},
	{"2 Jan 106 15:04:05 +0000", "2006-01-02T15:04:05Z"},
	{"Mon (a) , 2 (b) Jan 2006 15 (c) : 04 : 05 (d) +0000", "2006-01-02T15:04:05Z"},
	{"2 Jan 2006 15: 04 :05 +0100", "2006-01-02T15:04:05+01:00"},
	{"Mon, 2 Jan 2006 15.04.05 +0100", "2006-01-02T15:04:05+01:00"},
	{"2. Jan. 2006 15:04:05 MEZ", "2006-01-02T15:04:05+01:00"},
	{"02.01.2006 15:04:05", "2006-01-02T15:04:05Z"},
	{"29 Feb 2024 12:00:00 +0000", "2024-02-29T12:00:00Z"},
	{"29 Feb 2023 12:00:00 +0000", ""},
	{"31 Apr 2023 12:00:00 +0000", ""},
	{": 2 Jan 2006", "2006-01-02T00:00:00Z"},
	{"", ""},
	{"yesterday", ""},
	{"32 Jan 2006", ""},
	{"2 Jan 2006 25:00:00", ""},
	{"(((((", ""},
}

func TestParseDate(t *testing.T) {
	for _, c := range dateCases {
		got, ok := ParseDate(c.in)
		assert.Equal(t, c.want != "", ok, c.in)
		if ok {
			assert.Equal(t, c.want, got.Format(time.RFC3339), c.in)
		}
	}
}

func FuzzDate(f *testing.F) {
	for _, c := range dateCases {
		f.Add(c.in)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := ParseDate(s)
		if !ok {
			return
		}
		// Its standard form means the same time.
		again, ok := ParseDate(got.Format("Mon, 2 Jan 2006 15:04:05 -0700"))
		if _, off := got.Zone(); got.Year() >= 1000 && off%60 == 0 {
			require.True(t, ok && again.Equal(got), "%q: %v, %v", s, got, again)
		}
	})
}

func TestMessageIDs(t *testing.T) {
	for in, want := range map[string][]string{
		"<a@b>":               {"a@b"},
		"<a@b> (x) <c@d>":     {"a@b", "c@d"},
		"<a@b><c@d>":          {"a@b", "c@d"},
		"a@b c@d":             {"a@b", "c@d"},
		"<a@b":                {"a@b"},
		"<<a@b>":              {"a@b"},
		"<no at sign>":        {"noatsign"},
		"<>":                  nil,
		"<a\r\nBcc: v@x>":     {"aBcc:v@x"},
		"<a@b>, <c@d>, <e@f>": {"a@b", "c@d", "e@f"},
	} {
		assert.Equal(t, want, appendMessageIDs(nil, in), in)
	}
}

func TestSubjects(t *testing.T) {
	for in, want := range map[string][3]string{ // prefix, reply, forward
		"hello":         {"", "Re: hello", "Fwd: hello"},
		"Re: hello":     {"Re", "Re: hello", "Fwd: Re: hello"},
		"RE: FW: x":     {"Re", "RE: FW: x", "Fwd: RE: FW: x"},
		"fw: x":         {"Fw", "Re: fw: x", "fw: x"},
		"FWD : x":       {"Fwd", "Re: FWD : x", "FWD : x"},
		"Re[2]: x":      {"Re", "Re[2]: x", "Fwd: Re[2]: x"},
		"Re^3: x":       {"Re", "Re^3: x", "Fwd: Re^3: x"},
		"Reply: x":      {"", "Re: Reply: x", "Fwd: Reply: x"},
		"AW: x":         {"", "Re: AW: x", "Fwd: AW: x"},
		"Re":            {"", "Re: Re", "Fwd: Re"},
		"":              {"", "Re:", "Fwd:"},
		"x\r\nBcc: v@x": {"", "Re: x  Bcc: v@x", "Fwd: x  Bcc: v@x"},
	} {
		assert.Equal(t, want[0], SubjectPrefix(in), in)
		assert.Equal(t, want[1], ReplySubject(in), in)
		assert.Equal(t, want[2], ForwardSubject(in), in)
	}
}

func TestSubjectPrefixes(t *testing.T) {
	local := LocalSubjectPrefixes()
	require.NoError(t, local.Check())
	for in, want := range map[string]string{
		"AW: x": "Re", "aw[2]: x": "Re", "WG: AW: x": "Fwd", "Re: AW: x": "Re", "回复：x": "Re", "转发: x": "Fwd", "SV : x": "Re",
		"AWAY: x": "", "WG x": "", "x": "", "AW": "", "отв: x": "Re", "RE：x": "Re",
	} {
		assert.Equal(t, want, local.Prefix(in), in)
	}
	assert.Equal(t, "Fw", SubjectPrefixes{"I": "Fw"}.Prefix("i: x"))
	for _, bad := range []SubjectPrefixes{{"": "Re"}, {" A": "Re"}, {"A:": "Re"}, {"A": "re"}, {"A": ""}, {strings.Repeat("x", 33): "Re"}} {
		require.Error(t, bad.Check(), bad)
	}
}

func TestQuoteText(t *testing.T) {
	assert.Equal(t, "", QuoteText(""))
	assert.Equal(t, "> a\n>\n>> b\n", QuoteText("a\r\n\r\n> b"))
}
