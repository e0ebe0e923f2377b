package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/smtp"
	"github.com/maildriver/maildriver/smtp/smtptest"
)

// TestComposed sends a letter as the profile's parameters say.
func TestComposed(t *testing.T) {
	srv := smtptest.NewServer()
	defer srv.Close()
	addr, opts, err := smtp.FromParameters(map[string]string{
		"SMTP Server": "127.0.0.1", "From Address": "Jörg <j@example.com>", "Charset": "iso-8859-1",
		"Create Plain Text From HTML": "TRUE", "Reply-To Address List": "a@example.com; b@example.com",
	})
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1", addr)
	d, err := smtp.New(srv.Addr(), opts...)
	require.NoError(t, err)
	defer func() { require.NoError(t, d.Close()) }()

	dir := t.TempDir()
	html, file := filepath.Join(dir, "x.html"), filepath.Join(dir, "data.bin")
	require.NoError(t, os.WriteFile(html, []byte("<p>Grüße</p>"), 0o600))
	require.NoError(t, os.WriteFile(file, []byte("data"), 0o600))
	l := letter{subject: "Grüße", html: html, files: []string{file}}
	rec, err := l.send(t.Context(), d, "", []string{"b@example.com", "c@example.com"})
	require.NoError(t, err)
	assert.Equal(t, driver.DeliveryAccepted, rec.Delivery)
	got := srv.Messages()[0]
	assert.Equal(t, "j@example.com", got.From)
	assert.Len(t, got.To, 2)
	for _, want := range []string{
		"From: =?iso-8859-1?b?SvZyZw==?= <j@example.com>\r\n", "Reply-To: a@example.com, b@example.com\r\n", "To: b@example.com, c@example.com\r\n",
		"text/plain; charset=iso-8859-1", "text/html; charset=iso-8859-1", "Gr=FC=DFe", `filename="data.bin"`, "ZGF0YQ==",
	} {
		assert.Contains(t, string(got.Data), want)
	}

	for _, bad := range []struct {
		l    letter
		from string
		to   []string
	}{
		{from: "a, b"},
		{to: []string{"nobody at all"}},
		{l: letter{subject: "x"}},
		{l: letter{text: filepath.Join(dir, "none")}, to: []string{"b@example.com"}},
		{l: letter{files: []string{filepath.Join(dir, "none")}}, to: []string{"b@example.com"}},
	} {
		_, err := bad.l.send(t.Context(), d, bad.from, bad.to)
		require.Error(t, err)
	}
	assert.Len(t, srv.Messages(), 1)
}
