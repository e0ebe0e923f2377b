package imap

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/sasl"
)

// mechCommand is the LOGIN command, among the names of
// [driver.WithMechanisms]: "LOGIN" is the SASL mechanism of that name.
const mechCommand = sasl.ClearText

// maxAuthArgs is what goes with AUTHENTICATE where the server takes an initial
// response (RFC 4959); a longer one waits for a challenge.
const maxAuthArgs = 8000

// maxChallenge bounds a challenge in base64: Kerberos and NTLM need some
// thousand bytes.
const maxChallenge = 16 << 10

// saslService is the GSS-API name of IMAP (RFC 3501 section 6.2.2).
const saslService = "imap"

// login logs in, and asks for the capabilities anew unless the server tells
// them: it shows some only then.
func (s *session) login(ctx context.Context) error {
	state, secure := s.conn.TLS()
	peer := sasl.NewPeer(s.net, saslService, s.conn.Addr(), state, secure)
	offered := s.offered()
	mech, err := sasl.Choose(offered, peer)
	if err != nil {
		return s.notChosen(err)
	}
	s.log.Debug("logging in", "driver", driverName, "addr", s.conn.Addr(), "mechanism", mech, "tls", secure)
	told := s.capsTold
	conv := &saslConversation{s: s}
	if mech == mechCommand {
		password := s.net.Password.Reveal()
		if conv.Hide(password); password != "" { // as a server with a log of SASL would repeat it
			conv.Hide(base64.StdEncoding.EncodeToString([]byte(password)))
			conv.Hide(base64.StdEncoding.EncodeToString([]byte("\x00" + s.net.User + "\x00" + password)))
		}
		_, err = s.command("LOGIN", nil, str(s.net.User), str(password))
	} else {
		err = sasl.Login(ctx, mech, offered, peer, conv, s.maxInitial())
	}
	if de, ok := errors.AsType[*driver.Error](err); ok && de.Driver == "" {
		err = s.wrap("auth", de.Kind, de.Err)
	}
	if err != nil {
		return err
	}
	if s.capsTold == told {
		return s.capability()
	}
	return nil
}

func (s *session) maxInitial() int {
	if s.has("SASL-IR") {
		return maxAuthArgs
	}
	return 0
}

// offered lists the ways to log in that the server names.
func (s *session) offered() []string {
	var list []string
	for name := range s.caps {
		if m, ok := strings.CutPrefix(name, "AUTH="); ok {
			list = append(list, m)
		}
	}
	slices.Sort(list)
	if !s.caps["LOGINDISABLED"] {
		list = append(list, mechCommand)
	}
	return list
}

// notChosen tells why there is no way in.
func (s *session) notChosen(err error) error {
	de, ok := errors.AsType[*driver.Error](err)
	if !ok {
		return s.wrap("auth", driver.KindAuth, err)
	}
	why := de.Err
	if s.caps["LOGINDISABLED"] {
		why = fmt.Errorf("%w; the server has the LOGIN command disabled", why)
	}
	if !s.secure && s.caps["STARTTLS"] {
		why = fmt.Errorf("%w; the server offers STARTTLS and may take logins only in TLS", why)
	}
	return s.wrap("auth", de.Kind, why)
}

// saslConversation is AUTHENTICATE (RFC 3501 section 6.2.2).
type saslConversation struct {
	s   *session
	tag string
}

func (c *saslConversation) Start(args string) (err error) {
	c.tag, err = c.s.send("AUTHENTICATE", raw(args))
	return err
}

func (c *saslConversation) Hide(secret string) {
	if secret != "" {
		c.s.secrets = append(c.s.secrets, secret)
		c.s.conn.Hide(secret)
	}
}

func (c *saslConversation) Send(line string) error {
	if c.s.err != nil {
		return c.s.err
	}
	if _, err := c.s.conn.Write([]byte(line + "\r\n")); err != nil {
		return c.s.broken("auth", err)
	}
	if err := c.s.conn.Flush(); err != nil {
		return c.s.broken("auth", err)
	}
	return nil
}

func (c *saslConversation) Receive() (text []byte, more bool, err error) {
	s := c.s
	for range maxResponses {
		r, err := s.read(time.Now().Add(s.conn.Timeout()))
		if err != nil {
			return nil, false, s.broken("auth", err)
		}
		switch r.tag {
		case "+":
			if len(r.rest) > maxChallenge {
				return nil, false, s.broken("auth", s.wrap("auth", driver.KindProtocol, fmt.Errorf("challenge longer than %d bytes: %w", maxChallenge, driver.ErrLimit)))
			}
			return r.rest, true, nil
		case "*":
			if err := s.untagged(r, nil); err != nil {
				return nil, false, s.broken("auth", err)
			}
		case c.tag:
			_, err := s.finish("AUTHENTICATE", r.status())
			return nil, false, err
		default:
			return nil, false, s.broken("auth", s.garbage("a reply to nothing that was asked", []byte(r.tag)))
		}
	}
	return nil, false, s.broken("auth", s.wrap("auth", driver.KindProtocol, fmt.Errorf("too many responses: %w", driver.ErrLimit)))
}
