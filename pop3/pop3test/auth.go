package pop3test

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
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
	ask := func(challenge string) (string, bool) {
		if hasInitial {
			hasInitial = false
			if initial == "=" {
				return "", true
			}
			b, err := base64.StdEncoding.DecodeString(initial)
			return string(b), err == nil
		}
		if c.say("+ %s", base64.StdEncoding.EncodeToString([]byte(challenge))) != nil {
			return "", false
		}
		line, err := c.readLine()
		if err != nil || line == "*" {
			return "", false
		}
		b, err := base64.StdEncoding.DecodeString(line)
		return string(b), err == nil
	}
	switch name {
	case "PLAIN":
		answer, ok := ask("")
		parts := strings.Split(answer, "\x00")
		if !ok || len(parts) != 3 {
			return c.say(refusedLogin)
		}
		return c.login(parts[1], func(password string) bool { return equal(parts[2], password) })
	case "LOGIN":
		hasInitial = false
		user, ok := ask("Username:")
		if !ok {
			return c.say(refusedLogin)
		}
		given, ok := ask("Password:")
		if !ok {
			return c.say(refusedLogin)
		}
		return c.login(user, func(password string) bool { return equal(given, password) })
	case "CRAM-MD5":
		hasInitial = false
		stamp := fmt.Sprintf("<%d@pop3test.invalid>", time.Now().UnixNano())
		answer, ok := ask(stamp)
		i := strings.LastIndexByte(answer, ' ')
		if !ok || i < 0 {
			return c.say(refusedLogin)
		}
		return c.login(answer[:i], func(password string) bool {
			h := hmac.New(md5.New, []byte(password))
			h.Write([]byte(stamp))
			return equal(answer[i+1:], hex.EncodeToString(h.Sum(nil)))
		})
	}
	return c.say("-ERR mechanism not available")
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
