package sasl

import (
	"crypto/hmac"
	"crypto/md5" //nolint:gosec // CRAM-MD5 is HMAC with MD5
	"encoding/hex"
	"errors"

	"github.com/maildriver/maildriver/driver"
)

// login is LOGIN (draft-murchison-sasl-login). Servers word the two prompts as
// they like, so they are told apart by their order alone.
type login struct {
	user     string
	password driver.Secret
	step     int
}

func (l *login) Start() (string, []byte, error) { l.step = 0; return "LOGIN", nil, nil }

func (l *login) Next([]byte) ([]byte, error) {
	l.step++
	switch l.step {
	case 1:
		return []byte(l.user), nil
	case 2:
		return append([]byte{}, l.password.Reveal()...), nil
	}
	return nil, errors.New("LOGIN: a third prompt")
}

// cramMD5 is CRAM-MD5 (RFC 2195).
type cramMD5 struct {
	user     string
	password driver.Secret
	done     bool
}

func (c *cramMD5) Start() (string, []byte, error) { c.done = false; return "CRAM-MD5", nil, nil }

func (c *cramMD5) Next(challenge []byte) ([]byte, error) {
	if c.done {
		return nil, errors.New("CRAM-MD5: a second challenge")
	}
	if len(challenge) == 0 {
		// An empty challenge would make an answer that is good for ever.
		return nil, errors.New("CRAM-MD5: the challenge is empty")
	}
	c.done = true
	h := hmac.New(md5.New, []byte(c.password.Reveal()))
	h.Write(challenge)
	return append([]byte(c.user+" "), hex.EncodeToString(h.Sum(nil))...), nil
}
