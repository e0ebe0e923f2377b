package main

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const bounceMail = `From: "Mail Delivery" <mailer-daemon@example.net>
To: a@example.com
Subject: =?utf-8?q?Unzustellbar=3A_Gr=C3=BC=C3=9Fe?=
Message-ID: <1@example.net>
Date: Fri, 2 Jan 2026 03:04:05 +0000
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

Gr=FC=DFe
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mail.example.net

Final-Recipient: rfc822; nobody@example.com
Action: failed
Status: 5.1.1

--b
Content-Type: message/rfc822

Subject: original

hi
--b--
`

func TestInspect(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bounce.eml")
	require.NoError(t, os.WriteFile(file, []byte(bounceMail), 0o600))
	var out bytes.Buffer
	inspectFile(&out, file)
	inspectFile(&out, file+".missing")
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 2)
	var line struct {
		File  string
		Facts struct {
			Subject   string
			MessageID string `json:"message_id"`
			From      []person
			Date      int64
			Structure string
			Leaves    []leaf
			DSN       statusFacts
			Bounces   []bounce
		}
		Error string
	}
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &line))
	f := line.Facts
	assert.Equal(t, file, line.File)
	assert.Empty(t, line.Error)
	assert.Equal(t, "Unzustellbar: Grüße", f.Subject)
	assert.Equal(t, "1@example.net", f.MessageID)
	assert.Equal(t, []person{{"Mail Delivery", "mailer-daemon@example.net"}}, f.From)
	assert.EqualValues(t, 1767323045, f.Date)
	assert.Equal(t, "multipart/report(text/plain,message/delivery-status,message/rfc822(text/plain))", f.Structure)
	require.Len(t, f.Leaves, 3)
	assert.EqualValues(t, 5, f.Leaves[0].Size)
	h := newLFHash()
	_, _ = h.Write([]byte("Grüße"))
	assert.Equal(t, h.sum(), f.Leaves[0].TextSHA256)
	require.Len(t, f.DSN.Recipients, 1)
	assert.Equal(t, "5.1.1", *f.DSN.Recipients[0].Status)
	assert.Equal(t, []bounce{{"nobody@example.com", "5.1.1", true, "user-unknown"}}, f.Bounces)

	line.Error = ""
	require.NoError(t, json.Unmarshal([]byte(lines[1]), &line))
	assert.NotEmpty(t, line.Error, "a file that can't be opened is told, too")
}

func TestLFHash(t *testing.T) {
	sum := func(pieces ...string) string {
		h := newLFHash()
		for _, p := range pieces {
			_, _ = h.Write([]byte(p))
		}
		return h.sum()
	}
	want := sum("a\nb\n\nc")
	assert.Equal(t, want, sum("a\r\nb\r\n\r\nc\r\n"))
	assert.Equal(t, want, sum("a\r", "\nb\r\n\r", "\nc\n", "\n"))
	assert.Equal(t, want, sum("a\rb\r\rc"))
	assert.NotEqual(t, want, sum("a\nb\nc"))
}

// TestCorpus inspects every real message there is: none may be given up on.
func TestCorpus(t *testing.T) {
	root := os.Getenv("MAILDRIVER_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared")
	}
	root = filepath.Join(root, "corpus")
	if _, err := os.Stat(root); err != nil {
		t.Skipf("no corpus at %s; set MAILDRIVER_SHARED to the folder that holds it", root)
	}
	messages := 0
	for _, kind := range []string{"mime", "dsn"} {
		err := filepath.WalkDir(filepath.Join(root, kind), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			messages++
			f, err := os.Open(path)
			require.NoError(t, err)
			defer f.Close()
			start := time.Now()
			facts, err := inspect(f)
			assert.NoError(t, err, path)
			require.NotNil(t, facts, path)
			assert.NotEmpty(t, facts.Structure, path)
			assert.Less(t, time.Since(start), 5*time.Second, path)
			_, err = json.Marshal(facts)
			assert.NoError(t, err, path)
			return nil
		})
		require.NoError(t, err)
	}
	assert.NotZero(t, messages)
}
