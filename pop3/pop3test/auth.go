package pop3test

import (
	"crypto/md5"
	"crypto/subtle"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"
	"strings"

	"github.com/maildriver/maildriver/internal/sasl/sasltest"
)

const (
	refusedLogin = "-ERR [AUTH] authentication failed"
	refusedClear = "-ERR [AUTH] TLS is required"
)

// authorization runs the commands of the AUTHORIZATION state.
func (c *session) authorization(step Step, args string) error {
	cfg := &c.srv.cfg
	login := step == StepUser || step == StepPass || step == StepAPOP || step == StepAuth
	if login && cfg.required && !c.secure {
		c.srv.violation("%s before TLS", step)
		return c.say(refusedClear)
	}
	switch {
	case step == StepSTLS && cfg.stls && !c.secure:
		return c.stls()
	case step == StepUser && !cfg.noUser:
		c.user = args
		return c.say("+OK password, please")
	case step == StepPass && !cfg.noUser && c.user != "":
		user := c.user
		c.user = ""
		return c.login(user, func(password string) bool { return equal(args, password) })
	case step == StepAPOP && c.stamp != "":
		user, digest, _ := strings.Cut(args, " ")
		return c.login(user, func(password string) bool {
			sum := md5.Sum([]byte(c.stamp + password)) //nolint:gosec // RFC 1939 says MD5
			return equal(digest, hex.EncodeToString(sum[:]))
		})
	case step == StepAuth:
		return c.auth(args)
	}
	c.srv.violation("unknown or untimely command %.10q", string(step))
	return c.say("-ERR unknown command")
}

func (c *session) stls() error {
	// A client must be silent between STLS and the handshake (RFC 2595,
	// section 4).
	if c.in.Buffered() > 0 {
		c.srv.violation("bytes between STLS and its reply")
		return errGone
	}
	if err := c.say("+OK begin TLS"); err != nil {
		return err
	}
	if err := c.out.Flush(); err != nil {
		return err
	}
	c.user = ""
	return c.startTLS()
}

func (c *session) login(user string, proved func(password string) bool) error {
	box := c.srv.boxes[user]
	if box == nil || !proved(box.password) {
		return c.say(refusedLogin)
	}
	mails, ok := c.srv.lock(box)
	if !ok {
		return c.say("-ERR [IN-USE] maildrop is locked by another session")
	}
	c.box, c.mails, c.dead = box, mails, make([]bool, len(mails))
	return c.say("+OK logged in")
}

// auth runs a SASL exchange (RFC 5034).
func (c *session) auth(args string) error {
	name, initial, hasInitial := strings.Cut(args, " ")
	name = strings.ToUpper(name)
	if !slices.Contains(c.srv.cfg.mechanisms, name) {
		return c.say("-ERR unknown mechanism")
	}
	server := sasltest.New(name, c.setting())
	if server == nil {
		return c.say("-ERR mechanism not available")
	}
	var response []byte
	if hasInitial {
		b, ok := decode(initial)
		if !ok {
			return c.say(refusedLogin)
		}
		response = b
	}
	for {
		challenge, done, user, err := server.Next(response)
		switch {
		case errors.Is(err, sasltest.ErrMalformed):
			c.srv.violation("%v", err)
			return c.say(refusedLogin)
		case err != nil:
			return c.say(refusedLogin)
		case done:
			return c.login(user, func(string) bool { return true })
		}
		if err := c.say("+ %s", base64.StdEncoding.EncodeToString(challenge)); err != nil {
			return err
		}
		line, err := c.readLine()
		if err != nil {
			return err
		}
		b, ok := decode(line)
		if line == "*" || !ok {
			return c.say(refusedLogin)
		}
		response = b
	}
}

func decode(line string) ([]byte, bool) {
	if line == "=" || line == "" {
		return []byte{}, true
	}
	b, err := base64.StdEncoding.DecodeString(line)
	return b, err == nil
}

func (c *session) setting() sasltest.Setting {
	s := sasltest.Setting{Offered: c.srv.cfg.mechanisms, Service: "pop"}
	for name, box := range c.srv.boxes {
		s.Accounts = append(s.Accounts, sasltest.Account{User: name, Password: box.password, Token: c.srv.cfg.tokens[name]})
	}
	if t, ok := c.w.conn.(*tls.Conn); ok {
		state := t.ConnectionState()
		s.TLS, s.Leaf = &state, c.srv.cfg.tls.Certificates[0].Certificate[0]
	}
	return s
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
