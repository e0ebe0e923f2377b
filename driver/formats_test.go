package driver_test

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/mime"
)

// TestA45EmbeddedRoundTrip: whatever an embedded message says, its file is
// well-formed and says the same.
func TestA45EmbeddedRoundTrip(t *testing.T) {
	for name, c := range map[string]struct{ header, text, wantHeader, wantText string }{
		"plain":      {"Subject: hello", "one\ntwo\n", "hello", "one\ntwo"},
		"markup":     {"Subject: </Field><x a=\"1\"> ]]> &amp;", "]]> <Text> &lt; \"'\n", "</Field><x a=\"1\"> ]]> &amp;", "]]> <Text> &lt; \"'"},
		"folded":     {"Subject: one\n two", " lead\ttab ", "one two", " lead\ttab "},
		"control":    {"Subject: a\x01b", "a\x00b\x0bc", "a b", "a\uFFFDb\uFFFDc"},
		"not UTF-8":  {"Subject: caf\xe9", "caf\xe9", "café", "café"},
		"characters": {"Subject: =?utf-8?b?8J+YgA==?=", "😀 \uFFFE", "😀", "😀 \uFFFD"},
	} {
		ev, _ := one(t, "From: a@example.com\nContent-Type: message/rfc822\n\nFrom: b@example.com\n"+c.header+"\n\n"+c.text)
		m, err := driver.ReadEmbedded(strings.NewReader(content(t, ev.Files[0].Path)))
		require.NoError(t, err, name)
		assert.Equal(t, []driver.Field{{Name: "From", Value: "b@example.com"}, {Name: "Subject", Value: c.wantHeader}}, m.Header, name)
		require.Len(t, m.Texts, 1, name)
		assert.Equal(t, c.wantText, strings.TrimSuffix(m.Texts[0].Text, "\n"), name)
	}
}

func TestOriginalTextRoundTrip(t *testing.T) {
	ev, _ := one(t, "From: a@example.com\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\n folded\nX-Colon: a: b\n\none\n\ntwo: three\n")
	header, text, err := driver.ReadOriginalText(strings.NewReader(content(t, ev.OriginalTextFile())))
	require.NoError(t, err)
	assert.Equal(t, []driver.Field{{Name: "From", Value: "a@example.com"}, {Name: "Subject", Value: "Grüße folded"}, {Name: "X-Colon", Value: "a: b"}}, header)
	assert.Equal(t, "one\n\ntwo: three\n", strings.TrimSuffix(text, "\n")+"\n")

	ev, _ = one(t, "Subject: x\nContent-Type: image/png\n\nPNG")
	header, text, err = driver.ReadOriginalText(strings.NewReader(content(t, ev.OriginalTextFile())))
	require.NoError(t, err)
	assert.Len(t, header, 2)
	assert.Empty(t, text)

	ev, _ = one(t, "\nno header")
	header, text, err = driver.ReadOriginalText(strings.NewReader(content(t, ev.OriginalTextFile())))
	require.NoError(t, err)
	assert.Empty(t, header)
	assert.Equal(t, "no header", text)
}

func TestFormatErrors(t *testing.T) {
	for _, bad := range []string{"", "<x/>", "<EmbeddedMessage><Header>", "<?xml version=\"1.0\"?><!DOCTYPE x [<!ENTITY a \"b\">]><EmbeddedMessage>&a;</EmbeddedMessage>"} {
		_, err := driver.ReadEmbedded(strings.NewReader(bad))
		require.ErrorIs(t, err, driver.ErrFormat, bad)
	}
	for _, bad := range []string{"Subject: x", "no field\n\n"} {
		_, _, err := driver.ReadOriginalText(strings.NewReader(bad))
		require.ErrorIs(t, err, driver.ErrFormat, bad)
	}
	_, _, err := driver.ReadOriginalText(io.MultiReader(strings.NewReader("X: "), endlessReader{}))
	require.ErrorIs(t, err, mime.ErrLimit)
}

type endlessReader struct{}

func (endlessReader) Read(p []byte) (int, error) { return len(p), nil }
