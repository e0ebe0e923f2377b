package pop3

import (
	"context"
	"crypto/md5" //nolint:gosec // APOP is MD5
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/sasl"
)

// maxAuthArgs is what fits behind "AUTH " in a command of 255 octets (RFC 2449
// section 4); a longer initial response waits for a challenge (RFC 5034
// section 4).
const maxAuthArgs = 255 - len("AUTH ") - len("\r\n")

// saslService is the GSS-API name of POP3 (RFC 5034 section 7).
const saslService = "pop"

// login logs in, and asks for the capabilities anew: servers show some only
// then.
func (s *session) login(ctx context.Context) error {
	n := *s.net
	n.Mechanisms = slices.Clone(n.Mechanisms)
	for i, m := range n.Mechanisms {
		if m == sasl.ClearText { // the documents' word for it
			n.Mechanisms[i] = sasl.User
		}
	}
	state, secure := s.conn.TLS()
	peer := sasl.NewPeer(&n, saslService, s.conn.Addr(), state, secure)
	offered := s.offered()
	mech, err := sasl.Choose(offered, peer)
	if err != nil {
		return s.notChosen(err)
	}
	s.log.Debug("logging in", "driver", driverName, "addr", s.conn.Addr(), "mechanism", mech, "tls", secure)
	conv := saslConversation{s}
	switch mech {
	case sasl.User:
		conv.Hide(n.Password.Reveal())
		err = s.userPass(n.User, n.Password.Reveal())
	case sasl.APOP:
		conv.Hide(n.Password.Reveal())
		err = s.apop(n.User, n.Password.Reveal())
	default:
		err = sasl.Login(ctx, mech, offered, peer, conv, maxAuthArgs)
	}
	if de, ok := errors.AsType[*driver.Error](err); ok && de.Driver == "" {
		err = s.wrap("auth", de.Kind, de.Err)
	}
	if err != nil {
		return err
	}
	s.log.Debug("logged in", "driver", driverName, "addr", s.conn.Addr(), "mechanism", mech, "tls", secure)
	return s.capa()
}

// notChosen tells why there is no way in.
func (s *session) notChosen(err error) error {
	de, ok := errors.AsType[*driver.Error](err)
	if !ok {
		return s.wrap("auth", driver.KindAuth, err)
	}
	why := de.Err
	if !s.secure && s.caps.has("STLS") {
		why = fmt.Errorf("%w; the server offers STLS and may take logins only in TLS", why)
	}
	return s.wrap("auth", de.Kind, why)
}

// offered lists the ways to log in that the server names.
func (s *session) offered() []string {
	var list []string
	for _, m := range s.caps["SASL"] {
		list = append(list, strings.ToUpper(m))
	}
	// A server without CAPA, or with one that does not speak of logins, has
	// USER at least: RFC 1939 had nothing else for everybody.
	if s.caps.has("USER") || !s.caps.has("SASL") {
		list = append(list, sasl.User)
	}
	// APOP has no place for a name with a space.
	if validStamp(s.stamp) && !strings.Contains(s.net.User, " ") {
		list = append(list, sasl.APOP)
	}
	return list
}

// validStamp reports whether a time stamp is a message id of printable ASCII
// (RFC 1939 section 7). A false server needs other bytes to find the password by
// collisions of MD5 (CVE-2007-1558).
func validStamp(stamp string) bool {
	const longest = 512
	local, domain, ok := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(stamp, "<"), ">"), "@")
	return ok && local != "" && domain != "" && len(stamp) <= longest &&
		!strings.ContainsFunc(local+domain, func(r rune) bool { return r <= ' ' || r > '~' || r == '<' || r == '>' || r == '@' })
}

func (s *session) userPass(user, password string) error {
	if _, err := s.command("USER", user); err != nil {
		return err
	}
	_, err := s.command("PASS", password)
	return err
}

func (s *session) apop(user, password string) error {
	sum := md5.Sum([]byte(s.stamp + password)) //nolint:gosec // RFC 1939 says MD5
	digest := hex.EncodeToString(sum[:])
	s.secrets = append(s.secrets, digest)
	_, err := s.command("APOP", user, digest)
	return err
}

// saslConversation is AUTH of RFC 5034. Its lines are the session's own, past
// the engine, which knows no continuation.
type saslConversation struct{ s *session }

func (c saslConversation) Start(args string) error { return c.line("AUTH " + args) }
func (c saslConversation) Send(line string) error  { return c.line(line) }

func (c saslConversation) Hide(secret string) {
	if secret != "" {
		c.s.secrets = append(c.s.secrets, secret)
		c.s.conn.Hide(secret)
	}
}

func (c saslConversation) line(text string) error {
	if c.s.err != nil {
		return c.s.err
	}
	if _, err := c.s.conn.Write([]byte(text + "\r\n")); err != nil {
		return c.s.broken("auth", err)
	}
	if err := c.s.conn.Flush(); err != nil {
		return c.s.broken("auth", err)
	}
	return nil
}

func (c saslConversation) Receive() (text []byte, more bool, err error) {
	line, err := c.s.conn.ReadLine(maxChallenge)
	if err != nil {
		return nil, false, c.s.broken("auth", err)
	}
	if string(line) == "+" {
		return nil, true, nil
	}
	if len(line) > 1 && line[0] == '+' && line[1] == ' ' {
		return line[2:], true, nil
	}
	if len(line) > maxStatus {
		return nil, false, c.s.fail(c.s.wrap("auth", driver.KindProtocol, fmt.Errorf("line longer than %d bytes: %w", maxStatus, driver.ErrLimit)))
	}
	if _, err := c.s.parse("AUTH", string(line)); err != nil {
		if _, refused := isRefusal(err); !refused {
			return nil, false, c.s.fail(err)
		}
		return nil, false, err
	}
	return nil, false, nil
}

// maxChallenge bounds a challenge in base64: Kerberos and NTLM need some
// thousand bytes (RFC 4954 section 4 speaks of 12288).
const maxChallenge = 16 << 10
