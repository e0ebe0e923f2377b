package pop3

import (
	"crypto/md5" //nolint:gosec // APOP is MD5
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/sasl"
)

// The protocol's own ways to log in, among the names of
// [driver.WithMechanisms].
const (
	mechUser = "USER" // USER and PASS (RFC 1939 section 7)
	mechAPOP = "APOP"
)

// maxAuthArgs is what fits behind "AUTH " in a command of 255 octets (RFC 2449
// section 4); a longer initial response waits for a challenge (RFC 5034
// section 4).
const maxAuthArgs = 255 - len("AUTH ") - len("\r\n")

// The orders in which a mechanism is chosen, the first on offer. In TLS the
// password is safe, and what every server does comes before what only servers
// do that store passwords in clear. Without TLS it is the other way round. There
// is one try and no second with the next mechanism: a wrong password sent
// twice locks accounts sooner.
var (
	inTLS   = []string{"PLAIN", "LOGIN", mechUser, "CRAM-MD5", mechAPOP}
	inClear = []string{"CRAM-MD5", mechAPOP, "PLAIN", "LOGIN", mechUser}
)

// login logs in, and asks for the capabilities anew: servers show some only
// then.
func (s *session) login() error {
	mech, err := s.choose()
	if err != nil {
		return err
	}
	password := s.net.Password.Reveal()
	if password != "" {
		s.secrets = append(s.secrets, password, base64.StdEncoding.EncodeToString([]byte(password)))
	}
	switch mech {
	case mechUser:
		err = s.userPass(password)
	case mechAPOP:
		err = s.apop(password)
	default:
		err = s.sasl(mech)
	}
	if err != nil {
		return err
	}
	s.log.Debug("logged in", "driver", driverName, "addr", s.conn.Addr(), "mechanism", mech, "tls", s.secure)
	return s.capa()
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
		list = append(list, mechUser)
	}
	// APOP has no place for a name with a space.
	if s.stamp != "" && !strings.Contains(s.net.User, " ") {
		list = append(list, mechAPOP)
	}
	return list
}

// choose picks the mechanism. Those that show the password to the wire are
// taken only in TLS, or if the host permits it.
func (s *session) choose() (string, error) {
	order := s.net.Mechanisms
	if len(order) == 0 {
		order = inTLS
		if !s.secure {
			order = inClear
		}
	}
	offered, shown := s.offered(), ""
	for _, mech := range order {
		if !slices.Contains(offered, mech) || (mech != mechUser && mech != mechAPOP && !sasl.Known(mech)) {
			continue
		}
		_, err := s.client(mech)
		if errors.Is(err, driver.ErrInsecureAuth) {
			shown = mech
			continue
		}
		return mech, err
	}
	if shown != "" {
		return "", s.wrap("auth", driver.KindPolicy, fmt.Errorf("%w: mechanism %s", driver.ErrInsecureAuth, shown))
	}
	err := error(&sasl.NoMechanismError{Wanted: order, Offered: offered})
	if !s.secure && s.caps.has("STLS") {
		err = fmt.Errorf("%w; it offers STLS and may take logins only in TLS", err)
	}
	return "", s.wrap("auth", driver.KindAuth, err)
}

// client makes the client of a mechanism, or says that it may not be used
// here. USER and APOP need none.
func (s *session) client(mech string) (sasl.Client, error) {
	switch mech {
	case mechAPOP:
		return nil, nil
	case mechUser:
		if !s.secure && !s.net.AllowInsecureAuth {
			return nil, driver.ErrInsecureAuth
		}
		return nil, nil
	}
	n := *s.net
	n.Mechanisms = []string{mech}
	return sasl.Choose(n.Mechanisms, &n, s.secure)
}

func (s *session) userPass(password string) error {
	if _, err := s.command("USER", s.net.User); err != nil {
		return err
	}
	_, err := s.command("PASS", password)
	return err
}

func (s *session) apop(password string) error {
	sum := md5.Sum([]byte(s.stamp + password)) //nolint:gosec // RFC 1939 says MD5
	digest := hex.EncodeToString(sum[:])
	s.secrets = append(s.secrets, digest)
	_, err := s.command("APOP", s.net.User, digest)
	return err
}

func (s *session) sasl(mech string) error {
	c, err := s.client(mech)
	if err != nil {
		return err
	}
	err = sasl.Exchange(c, saslConversation{s}, maxAuthArgs)
	if de, ok := errors.AsType[*driver.Error](err); ok && de.Driver == "" {
		return s.wrap("auth", de.Kind, de.Err)
	}
	return err
}

// saslConversation is AUTH of RFC 5034. Its lines are the session's own, past
// the engine, which knows no continuation.
type saslConversation struct{ s *session }

func (c saslConversation) Start(args string) error {
	if _, ir, ok := strings.Cut(args, " "); ok && ir != "=" {
		c.s.secrets = append(c.s.secrets, ir)
	}
	return c.line("AUTH " + args)
}

func (c saslConversation) Send(line string) error {
	if line != "" && line != "*" {
		c.s.secrets = append(c.s.secrets, line)
	}
	return c.line(line)
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
