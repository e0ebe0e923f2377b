package authtest

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/smtp"
	"github.com/maildriver/maildriver/smtp/smtptest"
)

// TestA54Backup has the backup server of SMTP never see the credentials of the
// first: tokens and passwords belong to one server.
func TestA54Backup(t *testing.T) {
	dead := smtptest.NewServer()
	dead.Close()
	backup := smtptest.NewServer(smtptest.WithLogin(fakeUser, fakePassword), smtptest.WithToken(fakeToken), smtptest.WithMechanisms("XOAUTH2", "PLAIN"))
	t.Cleanup(backup.Close)
	a := &attempt{protocol: "SMTP", addr: dead.Addr(), from: "a@example.com", to: "b@example.com", opts: []driver.Option{
		driver.WithLogin(fakeUser, fakePassword), tokens(fakeToken), driver.WithMechanisms("XOAUTH2"), driver.WithInsecureAuth(),
		smtp.WithBackup(backup.Addr()),
	}}
	_, err := a.try(t.Context(), t.TempDir())
	require.Error(t, err, "the backup server demands a login")
	require.Positive(t, backup.Conns())
	for n := 1; n <= backup.Conns(); n++ {
		for _, line := range backup.Commands(n) {
			assert.False(t, strings.HasPrefix(line, "AUTH"), line)
		}
	}
}
