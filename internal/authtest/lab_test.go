package authtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/labtest"
	"github.com/maildriver/maildriver/internal/ntlm"
)

// server is one of the lab.
type server struct {
	name, protocol string
	clear, tls     string // names of its addresses: clear and STARTTLS, implicit TLS
	log            string
	// proof finds the login by mechanism and user in what the log has gained,
	// for the very connection with this local port or this sender.
	proof func(log, mech, user string, port int, from string) bool
}

var servers = []server{
	{"Dovecot IMAP", "IMAP", "LAB_IMAP", "LAB_IMAPS", "dovecot.log", dovecot("imap")},
	{"Dovecot POP3", "POP3", "LAB_POP3", "LAB_POP3S", "dovecot.log", dovecot("pop3")},
	{"Postfix", "SMTP", "LAB_SUBMISSION", "LAB_SMTPS", "postfix.log", postfix},
	{"Exim", "SMTP", "LAB_EXIM", "LAB_EXIMS", "exim-mainlog", exim},
}

// dovecot finds the login of a session. The last bytes of the session's id are
// the client's port and address.
func dovecot(protocol string) func(log, mech, user string, port int, _ string) bool {
	return func(log, mech, user string, port int, _ string) bool {
		if mech == "USER" || mech == "CLEARTEXT" {
			mech = "PLAIN" // what Dovecot calls the commands
		}
		line := regexp.MustCompile(protocol + `-login: Info: Login: user=<` + user + `>, method=` + mech + `, .*session=<([^>]+)>`)
		for _, m := range line.FindAllStringSubmatch(log, -1) {
			id, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(m[1], "="))
			if err == nil && len(id) == 12 && int(binary.LittleEndian.Uint16(id[6:])) == port {
				return true
			}
		}
		return false
	}
}

func postfix(log, mech, user string, _ int, from string) bool {
	line := regexp.MustCompile(`: ([0-9A-F]+): from=<` + regexp.QuoteMeta(from) + `>`).FindStringSubmatch(log)
	return line != nil && strings.Contains(log, line[1]+": client=localhost[127.0.0.1], sasl_method="+mech+", sasl_username="+user+"\n")
}

func exim(log, mech, user string, _ int, from string) bool {
	name := strings.ToLower(strings.ReplaceAll(mech, "-", "_"))
	return regexp.MustCompile(`<= ` + regexp.QuoteMeta(from) + ` .* A=` + name + `:` + user + ` `).MatchString(log)
}

// labMechanisms are the rows of the matrix. USER, APOP and CLEARTEXT are the
// protocols' own. GSSAPI is in contrib/gssapi.
var labMechanisms = []string{
	"PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "NTLM",
	"XOAUTH2", "OAUTHBEARER", "EXTERNAL", "USER", "APOP", "CLEARTEXT", "Auto",
}

const noV2 = "Exim knows NTLMv1 only, which we refuse"

// absent tells why a server of the lab cannot do a mechanism, "" if it can. What
// is absent is done on the fakes, by TestFakes.
func absent(s *server, mech string, security driver.Security) string {
	switch {
	case (mech == "USER" || mech == "APOP") && s.protocol != "POP3", mech == "CLEARTEXT" && s.protocol != "IMAP":
		return "not of this protocol"
	case mech == "EXTERNAL" && security == driver.SecurityNone:
		return "EXTERNAL needs TLS"
	case mech == "EXTERNAL" && s.name == "Postfix":
		return "Postfix does not tell Dovecot of the certificate"
	case mech == "NTLM" && s.name == "Exim":
		return noV2
	}
	return ""
}

// auto is what Auto takes.
const auto = "SCRAM-SHA-256"

// env is what the lab gives to all.
type env struct {
	lab  *labtest.Lab
	pool *x509.CertPool
	cert tls.Certificate
	log  map[string]func() string
}

func findLab(t *testing.T) *env {
	e := &env{lab: labtest.Find(t), pool: x509.NewCertPool(), log: map[string]func() string{}}
	pem, err := os.ReadFile(e.lab.Addr(t, "LAB_CA"))
	require.NoError(t, err)
	require.True(t, e.pool.AppendCertsFromPEM(pem))
	e.cert, err = tls.LoadX509KeyPair(e.lab.Addr(t, "LAB_CLIENT_CERT"), e.lab.Addr(t, "LAB_CLIENT_KEY"))
	require.NoError(t, err)
	for _, s := range servers {
		e.log[s.log] = tail(t, filepath.Join(filepath.Dir(e.lab.Addr(t, "LAB_KRB5_CONF")), "log", s.log))
	}
	e.lab.Mailbox(t, "u9") // which gets the mails
	return e
}

// A login is one cell of the matrix: wrong credentials, then right ones.
type login struct {
	s        *server
	mech     string
	security driver.Security
	attempts [2]attempt
	dirs     [2]string

	refusal, err error
	shown        bool // the log shows a login with wrong credentials
	proved       bool
}

func (l *login) name() string { return fmt.Sprint(l.s.name, "/", l.mech, "/", l.security) }

func (e *env) login(t *testing.T, s *server, mech string, security driver.Security) *login {
	l := &login{s: s, mech: mech, security: security}
	for i := range l.attempts {
		a := &l.attempts[i]
		*a = attempt{
			protocol: s.protocol, addr: e.lab.Addr(t, s.clear), to: "u9@example.com",
			from: fmt.Sprintf("login-%d-%s@example.com", os.Getpid(), rand.Text()),
		}
		if security == driver.SecurityImplicit {
			a.addr = e.lab.Addr(t, s.tls)
		}
		password, token := "alice-secreT", e.lab.Addr(t, "LAB_TOKEN_EXPIRED")
		if i == 1 {
			password, token = "alice-secret", e.lab.Addr(t, "LAB_TOKEN_ALICE")
		}
		a.opts = []driver.Option{
			driver.WithRootCAs(e.pool), driver.WithSecurity(security), driver.WithInsecureAuth(), driver.WithLogin("alice", password),
		}
		if mech != "Auto" {
			a.opts = append(a.opts, driver.WithMechanisms(mech))
		}
		if usesToken(mech) {
			a.opts = append(a.opts, tokens(token))
		}
		if mech == "EXTERNAL" && i == 1 {
			a.opts = append(a.opts, driver.WithClientCertificate(e.cert))
		}
		l.dirs[i] = t.TempDir()
	}
	return l
}

// run makes both attempts, and waits for the server's log to tell of the second.
func (l *login) run(ctx context.Context, log func() string) {
	mech := l.mech
	if mech == "Auto" {
		mech = auto
	}
	proof := func(port int, a *attempt) bool { return l.s.proof(log(), mech, "alice", port, a.from) }
	var port int
	port, l.refusal = l.attempts[0].try(ctx, l.dirs[0])
	l.shown = proof(port, &l.attempts[0])
	if port, l.err = l.attempts[1].try(ctx, l.dirs[1]); l.err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if l.proved = proof(port, &l.attempts[1]); l.proved {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// TestLab has every mechanism on every server of the lab, with wrong and right
// credentials, in clear, after STARTTLS and in implicit TLS. A login counts if
// the server's own log names mechanism and user for that very connection.
func TestLab(t *testing.T) {
	e := findLab(t)
	var logins []*login
	var cols []string
	tables := map[driver.Security]*table{}
	for i := range servers {
		cols = append(cols, servers[i].name)
		for _, mech := range labMechanisms {
			for _, security := range securities {
				if why := absent(&servers[i], mech, security); why == "" || why == noV2 {
					logins = append(logins, e.login(t, &servers[i], mech, security))
				}
			}
		}
	}
	// The servers take their time, and can do so side by side. But for NTLM
	// Dovecot has one helper, which knows one challenge at a time.
	lanes := make(chan func(), 2*len(logins))
	var ntlms []*login
	for _, l := range logins {
		if l.mech == "NTLM" {
			ntlms = append(ntlms, l)
		} else {
			lanes <- func() { l.run(t.Context(), e.log[l.s.log]) }
		}
	}
	close(lanes)
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() {
			for run := range lanes {
				run()
			}
		})
	}
	wg.Go(func() {
		for _, l := range ntlms {
			l.run(t.Context(), e.log[l.s.log])
		}
	})
	wg.Wait()

	for _, security := range securities {
		tables[security] = newTable(labMechanisms, cols)
	}
	for _, l := range logins {
		t.Run(l.name(), func(t *testing.T) {
			if absent(l.s, l.mech, l.security) == noV2 {
				require.ErrorIs(t, l.err, ntlm.ErrNotV2)
				assert.Equal(t, driver.KindPolicy, driver.KindOf(l.err))
				tables[l.security].set(l.mech, l.s.name, "v1 only")
				return
			}
			require.Error(t, l.refusal)
			assert.Equal(t, driver.KindAuth, driver.KindOf(l.refusal), "%v", l.refusal)
			assert.False(t, l.shown, "the log shows a login with wrong credentials")
			if usesToken(l.mech) {
				var te *driver.TokenError
				require.ErrorAs(t, l.refusal, &te)
			}
			require.NoError(t, l.err)
			require.True(t, l.proved, "the log names no login of alice by %s on this connection", l.mech)
			tables[l.security].set(l.mech, l.s.name, "ok")
		})
	}
	for _, security := range securities {
		t.Logf("%v: ok = right credentials taken and wrong ones refused, by the server's log; - = not possible there%s", security, tables[security])
	}
}

// tail reads what a log gains from now on.
func tail(t *testing.T, path string) func() string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Skipf("the lab's log cannot be read: %v", err)
	}
	t.Cleanup(func() { _ = f.Close() })
	from, err := f.Seek(0, io.SeekEnd)
	require.NoError(t, err)
	return func() string {
		var b bytes.Buffer
		_, _ = io.Copy(&b, io.NewSectionReader(f, from, 64<<20))
		return b.String()
	}
}

// TestLabSpecial has a user whose password is all that is hard: quotes, a
// backslash, a percent sign, letters of Latin-1 and beyond.
func TestLabSpecial(t *testing.T) {
	e := findLab(t)
	const password = `sp "q" \b ü€ %s`
	for i := range servers {
		s := &servers[i]
		for _, mech := range []string{"PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "USER", "APOP", "CLEARTEXT"} {
			if absent(s, mech, driver.SecurityNone) != "" {
				continue
			}
			t.Run(s.name+"/"+mech, func(t *testing.T) {
				a := &attempt{protocol: s.protocol, addr: e.lab.Addr(t, s.clear), from: "special@example.com", to: "u9@example.com", opts: []driver.Option{
					driver.WithLogin("special", password), driver.WithInsecureAuth(), driver.WithMechanisms(mech),
				}}
				_, err := a.try(t.Context(), t.TempDir())
				require.NoError(t, err)
			})
		}
	}
}
