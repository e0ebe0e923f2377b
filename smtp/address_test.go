package smtp

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
)

var addresses = []struct{ in, want, ascii, bad string }{
	{in: "a@example.com", want: "a@example.com"},
	{in: "a.b+c=d@ex-ample.co_m", want: "a.b+c=d@ex-ample.co_m"},
	{in: "a@[192.0.2.1]", want: "a@[192.0.2.1]"},
	{in: "a@[IPv6:2001:db8::1]", want: "a@[IPv6:2001:db8::1]"},
	{in: "a..b@example.com", want: `"a..b"@example.com`},
	{in: ".a@example.com", want: `".a"@example.com`},
	{in: "a.@example.com", want: `"a."@example.com`},
	{in: `"a b"@example.com`, want: `"a b"@example.com`},
	{in: `"a@evil.com x"@example.com`, want: `"a@evil.com x"@example.com`},
	{in: `"a\"b\\"@example.com`, want: `"a\"b\\"@example.com`},
	{in: "", bad: "no @"},
	{in: "a", bad: "no @"},
	{in: "@example.com", bad: "nothing before"},
	{in: "a@", bad: "nothing after"},
	{in: "a b@example.com", bad: "without quotes"},
	{in: "a@b@example.com", bad: "without quotes"},
	{in: "<a@example.com>", bad: "without quotes"},
	{in: "a@example.com>", bad: "domain name"},
	{in: "a@example.com> SIZE=1", bad: "domain name"},
	{in: "a@exa mple.com", bad: "domain name"},
	{in: "a@example..com", bad: "domain name"},
	{in: "a@example.com.", bad: "domain name"},
	{in: "a@-example.com", bad: "domain name"},
	{in: "a@[192.0.2.256]", bad: "literal"},
	{in: "a@[192.0.2.1", bad: "not closed"},
	{in: "a@[IPv6:::1%lo]", bad: "literal"},
	{in: `"a@example.com`, bad: "not closed"},
	{in: `"a"b"@example.com`, bad: "quote within"},
	{in: `"a\"@example.com`, bad: "not closed"},
	{in: "a\r\nRCPT TO:<v@x.example>@example.com", bad: "control character"},
	{in: "\"a\r\nRCPT TO:<v>\"@x.example", bad: "control character"},
	{in: "a\x00@example.com", bad: "control character"},
	{in: "a\x7f@example.com", bad: "control character"},
	{in: "a@example.com\n", bad: "control character"},
	{in: "a嘍嘊RCPT TO:<v@x>@example.com", bad: "without quotes"}, // U+560D U+560A: CR LF when cut to bytes
	{in: "a\u0085@example.com", bad: "U+0085"},
	{in: "a\u2028@example.com", bad: "U+2028"},
	{in: "a\u202e@example.com", bad: "U+202E"},
	{in: "a\u00a0b@example.com", bad: "U+00A0"},
	{in: "\xff@example.com", bad: "not UTF-8"},
	{in: "a@ex\u2024ample.com", bad: "not a domain name"}, // a dot in disguise
	{in: "a@\uff1cexample.com", bad: "not a domain name"}, // a bracket in disguise
	{in: "δοκιμή@example.com", want: "δοκιμή@example.com", ascii: "-"},
	{in: "üser@exämple.com", want: "üser@exämple.com", ascii: "-"},
	{in: `"ü x"@example.com`, want: `"ü x"@example.com`, ascii: "-"},
	{in: "a@exämple.com", want: "a@exämple.com", ascii: "a@xn--exmple-cua.com"},
	{in: strings.Repeat("a", 256) + "@example.com", bad: "limit 255"},
	{in: "a@" + strings.Repeat("a.", 200) + "com", bad: "limit 255"},
}

func TestA12A15EncodePath(t *testing.T) {
	for _, tt := range addresses {
		got, err := encodePath(tt.in)
		if tt.bad != "" {
			require.ErrorContains(t, err, tt.bad, "%q", tt.in)
			continue
		}
		require.NoError(t, err, "%q", tt.in)
		assert.Equal(t, tt.want, got.text)
		switch tt.ascii {
		case "":
			assert.Equal(t, tt.want, got.ascii)
		case "-":
			assert.Empty(t, got.ascii)
		default:
			assert.Equal(t, tt.ascii, got.ascii)
		}
		again, err := encodePath(got.text)
		require.NoError(t, err)
		assert.Equal(t, got, again, "encoding is stable")
	}
}

func FuzzEncodePath(f *testing.F) {
	for _, tt := range addresses {
		f.Add(tt.in)
	}
	f.Fuzz(func(t *testing.T, in string) {
		m, err := encodePath(in)
		if err != nil {
			return
		}
		again, err := encodePath(m.text)
		require.NoError(t, err)
		assert.Equal(t, m, again)
		assert.True(t, utf8.ValidString(m.text))
		assert.True(t, isASCII(m.ascii))
		for _, out := range []string{m.text, m.ascii} {
			harmless(t, out)
		}
	})
}

// harmless checks that an address can go into a command.
func harmless(t *testing.T, out string) {
	quoted := false
	for i := 0; i < len(out); i++ {
		c := out[i]
		assert.True(t, c >= ' ' && c != 0x7f, "no controls")
		switch {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted:
			assert.NotContains(t, " <>,;:()", string(c), "outside of quotes and literals in %q", out[:i])
			if c == '[' {
				i = len(out) // checked by netip
			}
		}
	}
}

func TestA13Envelope(t *testing.T) {
	good := func() *driver.Message {
		m := message(plainText, "b@example.com")
		m.EnvelopeID, m.Return = "id+1 = x", "hdrs"
		m.To[0].Notify = []string{"success", "DELAY", "SUCCESS"}
		m.To[0].Original = "rfc822;o+k@example.com"
		return m
	}
	x := parseExtensions([]string{"mx", "DSN", "SIZE", "8BITMIME"})
	e, err := newEnvelope(good(), nil)
	require.NoError(t, err)
	assert.Equal(t, "MAIL FROM:<a@example.com> SIZE=7 BODY=8BITMIME RET=HDRS ENVID=id+2B1+20+3D+20x",
		e.mail(&x, &content{facts: facts{size: 7, eightBit: true}}))
	assert.Equal(t, "RCPT TO:<b@example.com> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;o+2Bk@example.com", e.to[0].rcpt(&x, false))
	none := parseExtensions([]string{"mx"})
	assert.Equal(t, "MAIL FROM:<a@example.com>", e.mail(&none, &content{}))
	assert.Equal(t, "RCPT TO:<b@example.com>", e.to[0].rcpt(&none, false))

	null := good()
	null.From = ""
	e, err = newEnvelope(null, nil)
	require.NoError(t, err)
	assert.Equal(t, "MAIL FROM:<>", e.mail(&none, &content{}))

	bad := []struct {
		what string
		set  func(m *driver.Message)
	}{
		{"sender", func(m *driver.Message) { m.From = "a@b> SIZE=1" }},
		{"recipient", func(m *driver.Message) { m.To[0].Address = "b@x\r\nDATA" }},
		{"ENVID", func(m *driver.Message) { m.EnvelopeID = "x\r\nDATA" }},
		{"ENVID", func(m *driver.Message) { m.EnvelopeID = strings.Repeat("x", 101) }},
		{"ENVID", func(m *driver.Message) { m.EnvelopeID = strings.Repeat("+", 34) }},
		{"RET", func(m *driver.Message) { m.Return = "FULL AUTH=<>" }},
		{"NOTIFY", func(m *driver.Message) { m.To[0].Notify = []string{"NEVER", "DELAY"} }},
		{"NOTIFY", func(m *driver.Message) { m.To[0].Notify = []string{"DELAY\r\nDATA"} }},
		{"NOTIFY", func(m *driver.Message) { m.To[0].Notify = []string{""} }},
		{"MT-PRIORITY", func(m *driver.Message) { m.Priority = 10 }},
		{"MT-PRIORITY", func(m *driver.Message) { m.Priority = -10 }},
		{"DELIVERBY", func(m *driver.Message) { m.DeliverBy = &driver.DeliverBy{Return: true} }},
		{"DELIVERBY", func(m *driver.Message) { m.DeliverBy = &driver.DeliverBy{Within: 1e9 * time.Second} }},
		{"DELIVERBY", func(m *driver.Message) { m.DeliverBy = &driver.DeliverBy{Within: -1e9 * time.Second} }},
		{"ORCPT", func(m *driver.Message) { m.To[0].Original = "utf-8;\xff" }},
		{"ORCPT", func(m *driver.Message) { m.To[0].Original = "utf-8;a\nb" }},
		{"ORCPT", func(m *driver.Message) { m.To[0].Original = "no semicolon" }},
		{"ORCPT", func(m *driver.Message) { m.To[0].Original = "rfc 822;x" }},
		{"ORCPT", func(m *driver.Message) { m.To[0].Original = "rfc822;x\r\nDATA" }},
		{"ORCPT", func(m *driver.Message) { m.To[0].Original = "rfc822;" + strings.Repeat("x", 500) }},
	}
	for _, tt := range bad {
		m := good()
		tt.set(m)
		_, err := newEnvelope(m, nil)
		var ae *ArgumentError
		if tt.what == "NOTIFY" && len(m.To[0].Notify) == 1 && m.To[0].Notify[0] == "" {
			require.NoError(t, err, "an empty word asks for nothing")
			continue
		}
		require.ErrorAs(t, err, &ae, tt.what)
		assert.Equal(t, tt.what, ae.What)
		assert.NotContains(t, err.Error(), "\r")
	}
	for _, name := range []string{"a b", "x\r\nDATA", "", "[1.2.3]", "ü.example", "-x"} {
		_, err := New("mx.example", WithHeloName(name))
		require.Error(t, err, name)
		assert.Equal(t, driver.KindConfig, driver.KindOf(err))
	}
}
