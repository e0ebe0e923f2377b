package examples_test

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func imapProfile(t *testing.T, env map[string]string, user, spool string, more map[string]any) map[string]any {
	t.Helper()
	host, port := address(t, env, "LAB_IMAP")
	p := map[string]any{
		"IMAP Server": host, "IMAP Server Port": port, "Enable TLS for IMAP": "TRUE", "CACertFileName": env["LAB_CA"],
		"IMAP Account Name": user, "IMAP Account Password": user + "-secret", "Spool Directory": spool,
	}
	maps.Copy(p, more)
	return p
}

func TestLabPollOverIMAP(t *testing.T) {
	env := lab(t)
	labCommand(t, "reset", "u5")
	labCommand(t, "fill", "u5", "300")
	labCommand(t, "doveadm", "mailbox", "create", "-u", "u5", "Handled")
	file := writeProfile(t, "IMAP", imapProfile(t, env, "u5", filepath.Join(t.TempDir(), "spool"), map[string]any{
		"Current Folder": "inbox", "IMAP Batch Size": 100, "IMAP After Processing": "MOVE", "IMAP Move Folder": "Handled",
	}))
	out := run(t, "poll", "-drain", "-profile", file)
	require.Equal(t, 0, out.status, out.stderr)
	assert.Len(t, events(t, out.stdout), 300)
	assert.Equal(t, "0", labCommand(t, "count", "u5"))
	assert.Equal(t, "300", labCommand(t, "count", "u5", "Handled"))
	out = run(t, "poll", "-drain", "-profile", file)
	require.Equal(t, 0, out.status, out.stderr)
	assert.Empty(t, events(t, out.stdout))
	labCommand(t, "reset", "u5")
}

func TestLabRoundTripOverIMAP(t *testing.T) {
	env := lab(t)
	labCommand(t, "reset", "u6")
	host, port := address(t, env, "LAB_SUBMISSION")
	file := writeProfile(t, "Internet SMTP/IMAP Server", imapProfile(t, env, "u6", filepath.Join(t.TempDir(), "spool"), map[string]any{
		"SMTP Server": host, "SMTP Server Port": port, "Enable TLS for SMTP": true, "SMTP Account Name": "u6", "SMTP Account Password": "u6-secret",
		"From Address": "Desk <u6@example.com>",
	}))
	eml := filepath.Join(t.TempDir(), "trip.eml")
	require.NoError(t, os.WriteFile(eml, []byte("From: u6@example.com\r\nTo: u6@example.com\r\nSubject: there and back\r\n\r\n.dot\r\nx\r\n"), 0o600))
	out := run(t, "send", "-profile", file, eml)
	require.Equal(t, 0, out.status, out.stderr)
	var list []event
	require.Eventually(t, func() bool {
		out := run(t, "poll", "-drain", "-profile", file)
		require.Equal(t, 0, out.status, out.stderr)
		list = append(list, events(t, out.stdout)...)
		return len(list) > 0
	}, 30*time.Second, 200*time.Millisecond, "the mail comes back")
	require.Len(t, list, 1)
	assert.Equal(t, "there and back", list[0].Fields["Subject"])
	assert.Equal(t, "u6@example.com", list[0].Fields["SenderAddress"])
	assert.Equal(t, ".dot\r\nx\r\n", list[0].Fields["TextNote"])
	assert.Equal(t, "0", labCommand(t, "count", "u6"))
}
