package authtest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/sasl/sasltest"
)

// recorder keeps what a client sends.
type recorder struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.Write(p)
}

func (r *recorder) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.String()
}

func (r *recorder) dialer() driver.Option {
	return driver.WithDialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return recorded{c, r}, nil
	})
}

type recorded struct {
	net.Conn
	r *recorder
}

func (c recorded) Write(p []byte) (int, error) {
	_, _ = c.r.Write(p)
	return c.Conn.Write(p)
}

// forms are the ways in which a secret may be written, with the name of each.
func forms(secret string) map[string]string {
	f := map[string]string{
		"plain": secret, "hex": hex.EncodeToString([]byte(secret)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(secret))),
		"URL": url.QueryEscape(secret), "path": url.PathEscape(secret), "quoted": strings.Trim(strconv.Quote(secret), `"`),
		"ASCII": strings.Trim(strconv.QuoteToASCII(secret), `"`), "twice": strings.Trim(strconv.Quote(strings.Trim(strconv.Quote(secret), `"`)), `"`),
	}
	for shift := range 3 {
		// What stands before and behind decides on the outer characters.
		b := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + secret))
		from := (shift*8 + 5) / 6
		to := (shift + len(secret)) * 8 / 6
		f[fmt.Sprint("base64, shift ", shift)] = b[from:to]
	}
	return f
}

// A parrot is a server that refuses all logins and repeats what it was told, as
// it came and decoded, at the given turn of the exchange. One that knows the
// account takes the login, and repeats it in its answer to what comes behind.
type parrot struct {
	protocol string
	turn     int // how many responses it takes before
	account  sasltest.Account
	later    string      // the form of the answer behind the login: "refusal" or "garbage", "" if there is no login
	let      atomic.Bool // somebody in
	l        net.Listener
	wg       sync.WaitGroup
}

func newParrot(t *testing.T, p *parrot) *parrot {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p.l = l
	p.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() {
				defer func() { _ = c.Close() }()
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				p.serve(bufio.NewReader(c), c)
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); p.wg.Wait() })
	return p
}

var parrotMechanisms = "PLAIN LOGIN CRAM-MD5 DIGEST-MD5 SCRAM-SHA-1 SCRAM-SHA-256 NTLM OAUTHBEARER XOAUTH2 EXTERNAL"

var literal = regexp.MustCompile(`\{(\d+)\}$`)

func (p *parrot) serve(r *bufio.Reader, w io.Writer) {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\r\n", args...) }
	switch p.protocol {
	case "IMAP":
		say("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=%s] hello", strings.ReplaceAll(parrotMechanisms, " ", " AUTH="))
	case "POP3":
		say("+OK hello <1.2@parrot.invalid>")
	default:
		say("220 hello")
	}
	told := "" // once logged in
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		for m := literal.FindStringSubmatch(line); m != nil; m = literal.FindStringSubmatch(line) {
			n, _ := strconv.Atoi(m[1])
			say("+ go on")
			b := make([]byte, n)
			_, _ = io.ReadFull(r, b)
			rest, _ := r.ReadString('\n')
			line = strings.TrimSuffix(line, m[0]) + string(b) + strings.TrimRight(rest, "\r\n")
		}
		tag, command := "", line
		if p.protocol == "IMAP" {
			tag, command, _ = strings.Cut(line, " ")
			tag += " "
		}
		verb, args, _ := strings.Cut(command, " ")
		yes, no := map[string]string{"IMAP": tag + "OK", "POP3": "+OK", "SMTP": "250"}[p.protocol], map[string]string{"IMAP": tag + "NO", "POP3": "-ERR", "SMTP": "535"}[p.protocol]
		switch {
		case told == "":
		case p.later == "garbage":
			say("you said %s", told)
			continue
		default:
			say("%s you said %s", no, told)
			continue
		}
		switch verb {
		case "EHLO":
			say("250-parrot\r\n250 AUTH %s", parrotMechanisms)
		case "CAPA":
			say("+OK\r\nUSER\r\nSASL %s\r\n.", parrotMechanisms)
		case "LOGIN", "PASS", "APOP":
			if p.later != "" {
				told = line
				p.let.Store(true)
				say("%s welcome", yes)
				continue
			}
			say("%s you said %s", no, line)
		case "AUTH", "AUTHENTICATE":
			heard, in, ok := p.exchange(r, say, args, no)
			if !ok {
				return
			}
			if in {
				told = heard
				p.let.Store(true)
				say("%s welcome", strings.Replace(yes, "250", "235", 1))
			}
		default:
			say("%s fine", yes)
		}
	}
}

// exchange says what it heard, whether that was a login, which is for the caller
// to answer, and whether the client is still there.
func (p *parrot) exchange(r *bufio.Reader, say func(string, ...any), args, no string) (heard string, in, ok bool) {
	name, ir, has := strings.Cut(args, " ")
	server := sasltest.New(name, sasltest.Setting{Accounts: []sasltest.Account{p.account}})
	heard = args
	var response []byte
	if has {
		response, _ = base64.StdEncoding.DecodeString(ir)
		heard += " that is " + string(response)
	}
	for turn := 0; ; turn++ {
		challenge, done, _, err := server.Next(response)
		heard = strings.NewReplacer("\r", "", "\n", "").Replace(heard)
		switch {
		case done && err == nil && p.later != "":
			return heard, true, true
		case p.later != "" && err == nil: // goes on to its end
		case turn >= p.turn || done || err != nil:
			say("%s you said %s", no, heard)
			return heard, false, true
		}
		more := "+ "
		if p.protocol == "SMTP" {
			more = "334 "
		}
		say("%s%s", more, base64.StdEncoding.EncodeToString(challenge))
		line, err := r.ReadString('\n')
		if err != nil {
			return heard, false, false
		}
		line = strings.TrimRight(line, "\r\n")
		if line == "*" {
			say("%s cancelled", no)
			return heard, false, true
		}
		response, _ = base64.StdEncoding.DecodeString(line)
		if response == nil {
			response = []byte{}
		}
		heard += " " + line + " that is " + string(response)
	}
}

// TestA30Secrets runs every mechanism on every protocol, successfully, refused,
// and with a server that repeats what it is told, and looks for password and
// token in all that comes out: errors, logs, traces, files.
func TestA30Secrets(t *testing.T) {
	const password, token = `s3cr3t-"p\q&ü€`, "t0k3n-secret.value~+/=="
	secrets := map[string]string{}
	for _, s := range []string{password, token} {
		for name, text := range forms(s) {
			secrets[name+" of "+s[:6]] = text
		}
	}
	mechanisms := append(slices.DeleteFunc(slices.Clone(sasltest.Mechanisms), func(m string) bool { return strings.HasSuffix(m, "-PLUS") }),
		"USER", "APOP", "CLEARTEXT")
	for _, protocol := range []string{"IMAP", "POP3", "SMTP"} {
		for _, mech := range mechanisms {
			if (mech == "USER" || mech == "APOP") && protocol != "POP3" || mech == "CLEARTEXT" && protocol != "IMAP" {
				continue
			}
			t.Run(protocol+"/"+mech, func(t *testing.T) {
				var out recorder
				dir := t.TempDir()
				logger := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: false}))
				opts := []driver.Option{
					driver.WithLogin(fakeUser, password), tokens(token), driver.WithInsecureAuth(), driver.WithMechanisms(mech),
					driver.WithLogger(logger), driver.WithLogDebug(filepath.Join(dir, "log"), "X"),
				}
				note := func(err error) {
					_, _ = fmt.Fprintf(&out, "%v\n%+v\n%#v\n%q\n", err, err, err, err)
					for ; err != nil; err = errors.Unwrap(err) {
						_, _ = fmt.Fprintf(&out, "%T %v\n", err, err)
					}
				}
				for turn := range 3 {
					p := newParrot(t, &parrot{protocol: protocol, turn: turn, account: sasltest.Account{User: fakeUser, Password: "another", Token: "another"}})
					a := &attempt{protocol: protocol, addr: p.l.Addr().String(), from: "a@example.com", to: "b@example.com", opts: opts}
					_, err := a.try(t.Context(), filepath.Join(dir, "spool"))
					require.Error(t, err)
					note(err)
				}
				for _, later := range []string{"refusal", "garbage"} {
					if mech == "EXTERNAL" {
						continue // it has no secret to repeat
					}
					p := newParrot(t, &parrot{protocol: protocol, later: later, account: sasltest.Account{User: fakeUser, Password: password, Token: token}})
					a := &attempt{protocol: protocol, addr: p.l.Addr().String(), from: "a@example.com", to: "b@example.com", opts: opts}
					_, err := a.try(t.Context(), filepath.Join(dir, "spool"))
					require.Error(t, err)
					assert.True(t, p.let.Load(), "the login was good: %v", err)
					assert.Contains(t, err.Error(), "you said")
					note(err)
				}
				f := newFake(t, protocol, driver.SecurityNone, mech)
				a := f.attempt(protocol, driver.SecurityNone, opts...)
				_, err := a.try(t.Context(), filepath.Join(dir, "spool"))
				require.Error(t, err)
				note(err)
				_, _ = fmt.Fprintf(&out, "%v %+v %#v", a.opts, a.opts, a.opts)
				traces := 0
				require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
					if err != nil || d.IsDir() {
						return err
					}
					if filepath.Dir(path) == filepath.Join(dir, "log") {
						traces++
					}
					b, err := os.ReadFile(path)
					_, _ = fmt.Fprintf(&out, "\n== %s\n%s", path, b)
					return err
				}))
				assert.Positive(t, traces, "no trace was written: there is nothing to look at")
				text := out.String()
				for name, s := range secrets {
					if i := strings.Index(text, s); i >= 0 {
						t.Errorf("the secret (%s) is in: ...%s...", name, text[max(0, i-200):min(len(text), i+len(s)+50)])
					}
				}
			})
		}
	}
}

// TestForms finds a secret that is there: a search that finds nothing ever
// would prove nothing.
func TestForms(t *testing.T) {
	const secret = `s3cr3t-"p\q&ü€`
	for shift := range 4 {
		text := base64.StdEncoding.EncodeToString([]byte("abcd"[:shift] + secret + "tail"))
		found := false
		for name, s := range forms(secret) {
			found = found || strings.HasPrefix(name, "base64") && strings.Contains(text, s)
		}
		assert.True(t, found, "base64 behind %d bytes", shift)
	}
	for _, text := range []string{
		secret, fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret), fmt.Sprintf("%q", secret), fmt.Sprintf("%+q", secret), url.QueryEscape(secret),
		fmt.Sprintf("%q", fmt.Sprintf("%q", secret)),
	} {
		found := false
		for _, s := range forms(secret) {
			found = found || strings.Contains(text, s)
		}
		assert.True(t, found, text)
	}
}
