package pop3

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/pop3/pop3test"
)

// TestStamps takes time stamps that are message ids, and no bytes with which a
// false server could look for collisions (CVE-2007-1558).
func TestStamps(t *testing.T) {
	for stamp, want := range map[string]bool{
		"<1896.697170952@dbc.mtview.ca.us>":      true, // RFC 1939 section 7
		"":                                       false,
		"<>":                                     false,
		"<@>":                                    false,
		"<a@>":                                   false,
		"<@b>":                                   false,
		"<a@b@c>":                                false,
		"<a\x80@b>":                              false,
		"<a@b\x01>":                              false,
		"<a b@c>":                                false,
		"<a<b@c>":                                false,
		"<" + strings.Repeat("a", 600) + "@b.c>": false,
	} {
		assert.Equal(t, want, validStamp(stamp), "%q", stamp)
	}
}

func FuzzStamp(f *testing.F) {
	f.Add("+OK hi <1896.697170952@dbc.mtview.ca.us>")
	f.Add("+OK <a@b@c>")
	f.Add("+OK <\x80@\xff>")
	f.Fuzz(func(t *testing.T, greeting string) {
		stamp := timeStamp(greeting)
		if !validStamp(stamp) {
			return
		}
		require.Contains(t, greeting, stamp)
		for _, b := range []byte(stamp) {
			require.True(t, b > ' ' && b < 0x7f)
		}
	})
}

// TestAPOPNeedsAStamp sends no digest of a time stamp that is none, and no
// password instead of it.
func TestAPOPNeedsAStamp(t *testing.T) {
	srv := pop3test.NewServer()
	t.Cleanup(srv.Close)
	srv.Script(pop3test.Rule{At: pop3test.StepGreeting, Do: pop3test.Reply("+OK hello <\x80\x81@\xff>")})
	_, err := tryOpen(t, srv.Addr, driver.WithMechanisms("APOP"))
	var me *driver.MechanismError
	require.ErrorAs(t, err, &me)
	assert.Equal(t, driver.KindAuth, driver.KindOf(err))
	for _, tr := range srv.Transcripts() {
		assert.NotContains(t, string(tr.Client), "APOP")
		assert.NotContains(t, string(tr.Client), "PASS")
	}
}
