package nettest

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/netx"
)

// A speaker plays the clear part of a protocol up to its STARTTLS command.
type speaker struct {
	greeting string
	command  string // upgrade command
	reply    func(line string) string
	strip    func(reply string) string // takes the offer of TLS out
	agree    string
	refuse   string
	forged   string // a reply that the client may expect next
}

func speakers() map[string]speaker {
	tag := func(line, text string) string { t, _, _ := strings.Cut(line, " "); return t + " " + text }
	return map[string]speaker{
		"SMTP": {
			greeting: "220 mx ESMTP\r\n", command: "STARTTLS", agree: "220 go\r\n", refuse: "454 not now\r\n", forged: "250-mx\r\n250 AUTH PLAIN\r\n",
			reply: func(line string) string {
				if strings.HasPrefix(line, "EHLO") {
					return "250-mx\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN\r\n"
				}
				return "221 bye\r\n"
			},
			strip: func(s string) string { return strings.ReplaceAll(s, "250-STARTTLS\r\n", "") },
		},
		"POP3": {
			greeting: "+OK ready\r\n", command: "STLS", agree: "+OK go\r\n", refuse: "-ERR not now\r\n", forged: "+OK\r\nSASL PLAIN\r\n.\r\n",
			reply: func(line string) string {
				if line == "CAPA" {
					return "+OK\r\nUSER\r\nSTLS\r\nSASL PLAIN LOGIN\r\n.\r\n"
				}
				return "+OK\r\n"
			},
			strip: func(s string) string { return strings.ReplaceAll(s, "STLS\r\n", "") },
		},
		"IMAP": {
			greeting: "* OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN] ready\r\n", command: "STARTTLS", agree: "OK go\r\n", refuse: "NO not now\r\n", forged: "* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n",
			reply: func(line string) string {
				if strings.HasSuffix(line, " CAPABILITY") {
					return "* CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN\r\n" + tag(line, "OK\r\n")
				}
				return tag(line, "OK\r\n")
			},
			strip: func(s string) string { return strings.ReplaceAll(s, " STARTTLS", "") },
		},
	}
}

// A wire is what a client said in clear.
type wire struct {
	mu   sync.Mutex
	said strings.Builder
}

func (w *wire) add(s string) { w.mu.Lock(); defer w.mu.Unlock(); w.said.WriteString(s) }

func (w *wire) String() string { w.mu.Lock(); defer w.mu.Unlock(); return w.said.String() }

// serve plays a server. upgrade makes the answer to the command for TLS.
func serve(t *testing.T, s speaker, stripped bool, upgrade func(line string, nc net.Conn, r *bufio.Reader) bool) (addr string, w *wire) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w = &wire{}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer nc.Close()
				_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
				edit := func(text string) string {
					if stripped {
						return s.strip(text)
					}
					return text
				}
				_, _ = io.WriteString(nc, edit(s.greeting))
				r := bufio.NewReader(nc)
				for {
					line, err := r.ReadString('\n')
					w.add(line)
					if err != nil {
						return
					}
					line = strings.TrimRight(line, "\r\n")
					if line == s.command || strings.HasSuffix(line, " "+s.command) {
						if !upgrade(line, nc, r) {
							return
						}
						continue
					}
					_, _ = io.WriteString(nc, edit(s.reply(line)))
				}
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return l.Addr().String(), w
}

// prefix puts a tag before a reply where the protocol has one.
func prefix(name, line, text string) string {
	if name == "IMAP" {
		tag, _, _ := strings.Cut(line, " ")
		return tag + " " + text
	}
	return text
}

// TestStartTLSAttacks runs every attack on the upgrade against every protocol:
// no credential, and nothing that matters, is said to a server or somebody
// between that plays with it.
func TestStartTLSAttacks(t *testing.T) {
	const budget = 300 * time.Millisecond
	out := &table{t: t, title: "attacks on STARTTLS"}
	defer out.print()
	out.add("attack", "SMTP", "POP3", "IMAP")
	for _, a := range []struct {
		name     string
		stripped bool
		upgrade  func(name string, s speaker) func(line string, nc net.Conn, r *bufio.Reader) bool
		kind     driver.Kind
		is       error
	}{
		{"A01 injected reply", false, func(name string, s speaker) func(string, net.Conn, *bufio.Reader) bool {
			return func(line string, nc net.Conn, r *bufio.Reader) bool {
				_, _ = io.WriteString(nc, prefix(name, line, s.agree)+s.forged)
				return true
			}
		}, driver.KindProtocol, netx.ErrInjected},
		{"A03 offer stripped", true, func(name string, s speaker) func(string, net.Conn, *bufio.Reader) bool {
			return func(line string, nc net.Conn, _ *bufio.Reader) bool {
				_, _ = io.WriteString(nc, prefix(name, line, s.refuse))
				return true
			}
		}, driver.KindPolicy, driver.ErrTLSRequired},
		{"A03 refused", false, func(name string, s speaker) func(string, net.Conn, *bufio.Reader) bool {
			return func(line string, nc net.Conn, _ *bufio.Reader) bool {
				_, _ = io.WriteString(nc, prefix(name, line, s.refuse))
				return true
			}
		}, driver.KindPolicy, driver.ErrTLSRequired},
		{"A07 silence", false, func(name string, s speaker) func(string, net.Conn, *bufio.Reader) bool {
			return func(line string, nc net.Conn, r *bufio.Reader) bool {
				_, _ = io.WriteString(nc, prefix(name, line, s.agree))
				_, _ = io.Copy(io.Discard, r)
				return false
			}
		}, driver.KindTemporary, nil},
		{"A02 what follows is a handshake", false, func(name string, s speaker) func(string, net.Conn, *bufio.Reader) bool {
			return func(line string, nc net.Conn, r *bufio.Reader) bool {
				assert.Zero(t, r.Buffered(), "%s: nothing rides behind the command", name)
				_, _ = io.WriteString(nc, prefix(name, line, s.agree))
				head := make([]byte, 6)
				if _, err := io.ReadFull(r, head); assert.NoError(t, err) {
					assert.Equal(t, []byte{0x16, 3, 1}, head[:3], "%s: a TLS record of a handshake", name)
					assert.Equal(t, byte(1), head[5], "%s: a ClientHello", name)
				}
				return false
			}
		}, driver.KindTemporary, nil},
	} {
		cells := []string{a.name}
		wires := make([]*wire, len(protocols))
		errs := all(func(p protocol) error {
			s := speakers()[p.name]
			addr, w := serve(t, s, a.stripped, a.upgrade(p.name, s))
			wires[indexOf(p)] = w
			return p.run(t, addr, driver.WithSecurity(driver.SecurityExplicit), driver.WithLogin("ann", "hunter-two"), driver.WithTimeout(budget), driver.WithInsecureAuth(), driver.WithInsecureSkipVerify())
		})
		for i, err := range errs {
			name := a.name + ", " + protocols[i].name
			cells = append(cells, verdict(err))
			require.Error(t, err, name)
			assert.Equal(t, a.kind, driver.KindOf(err), "%s: %v", name, err)
			if a.is != nil {
				assert.ErrorIs(t, err, a.is, name)
			}
			said := wires[i].String()
			for _, word := range []string{"AUTH ", "AUTHENTICATE", "LOGIN", "USER", "PASS", "MAIL", "hunter-two"} {
				assert.NotContains(t, said, word, name)
			}
		}
		out.add(cells...)
	}
}

// TestA04PreauthBeforeTLS: only IMAP has this greeting.
func TestA04PreauthBeforeTLS(t *testing.T) {
	s := speakers()["IMAP"]
	s.greeting = "* PREAUTH [CAPABILITY IMAP4rev1 STARTTLS] at your service\r\n"
	addr, w := serve(t, s, false, func(string, net.Conn, *bufio.Reader) bool { return false })
	err := runIMAP(t, addr, driver.WithSecurity(driver.SecurityExplicit), driver.WithLogin("ann", "hunter-two"), driver.WithTimeout(soon))
	require.ErrorIs(t, err, driver.ErrTLSRequired)
	assert.Equal(t, driver.KindPolicy, driver.KindOf(err))
	assert.NotContains(t, w.String(), "SELECT")
}

// TestA25OneProfileOnly: what one profile permits is permitted to no other.
func TestA25OneProfileOnly(t *testing.T) {
	addr := selfSigned(t)
	permitted := []driver.Option{driver.WithSecurity(driver.SecurityImplicit), driver.WithTimeout(soon), driver.WithInsecureSkipVerify()}
	err := runSMTP(t, addr, permitted...)
	require.Error(t, err)
	assert.NotEqual(t, driver.KindPolicy, driver.KindOf(err), "the certificate was accepted: %v", err)
	for range 2 {
		err = runSMTP(t, addr, driver.WithSecurity(driver.SecurityImplicit), driver.WithTimeout(soon))
		ce, ok := errors.AsType[*driver.CertificateError](err)
		require.True(t, ok, "%v", err)
		assert.Equal(t, driver.CertificateUnknownAuthority, ce.Problem)
		_ = runSMTP(t, addr, permitted...)
	}
}
