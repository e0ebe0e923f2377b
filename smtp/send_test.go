package smtp

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/smtp/smtptest"
)

func TestSend(t *testing.T) {
	login := smtptest.WithLogin("alice", "secret-1")
	user := driver.WithLogin("alice", "secret-1")
	tests := []struct {
		name string
		fake []smtptest.Option
		opts []driver.Option
		tls  bool
		user string
	}{
		{name: "plain"},
		{name: "HELO only", fake: []smtptest.Option{smtptest.WithoutEHLO()}},
		{name: "implicit TLS", fake: []smtptest.Option{smtptest.WithImplicitTLS()}, opts: []driver.Option{driver.WithSecurity(driver.SecurityImplicit)}, tls: true},
		{name: "STARTTLS", fake: []smtptest.Option{smtptest.WithSTARTTLS()}, opts: []driver.Option{explicit()}, tls: true},
		{name: "STARTTLS and AUTH", fake: []smtptest.Option{smtptest.WithSTARTTLS(), login}, opts: []driver.Option{explicit(), user}, tls: true, user: "alice"},
		{name: "LOGIN", fake: []smtptest.Option{smtptest.WithSTARTTLS(), login, smtptest.WithMechanisms("LOGIN")}, opts: []driver.Option{explicit(), user}, tls: true, user: "alice"},
		{name: "CRAM-MD5 in clear", fake: []smtptest.Option{login}, opts: []driver.Option{user}, user: "alice"},
		{name: "PLAIN in clear, permitted", fake: []smtptest.Option{login, smtptest.WithMechanisms("PLAIN")}, opts: []driver.Option{user, driver.WithInsecureAuth()}, user: "alice"},
		{
			name: "AUTH= and lower case", user: "alice",
			fake: []smtptest.Option{login, smtptest.WithExtensions("size 1000000", "auth=login plain cram-md5", "8bitmime")},
			opts: []driver.Option{user, driver.WithMechanisms("LOGIN"), driver.WithInsecureAuth()},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv, d := start(t, tt.fake, tt.opts...)
			rec, err := send(t, d, message(plainText, "b@example.com", "c@example.com"))
			require.NoError(t, err)
			assert.Equal(t, 250, rec.Code)
			assert.Equal(t, srv.Addr(), rec.Server)
			assert.Equal(t, "2.0.0", rec.Enhanced)
			require.Len(t, srv.Messages(), 1)
			got := srv.Messages()[0]
			assert.Equal(t, plainText, string(got.Data))
			assert.Equal(t, "a@example.com", got.From)
			assert.Equal(t, tt.tls, got.TLS)
			assert.Equal(t, tt.user, got.User)
			assert.True(t, got.Promised)
			assert.Empty(t, srv.Violations())
			cmds := srv.Commands(1)
			assert.Equal(t, "QUIT", cmds[len(cmds)-1])
		})
	}
}
