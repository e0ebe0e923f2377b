package smtptest

import (
	"cmp"
	"crypto/hmac"
	"crypto/md5" //nolint:gosec // CRAM-MD5
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

func (c *conn) auth(args string) {
	mech, initial, has := strings.Cut(args, " ")
	mech = strings.ToUpper(mech)
	switch {
	case !c.offers("AUTH") || c.user != "" || c.pending != nil:
		c.answer(AUTH, "503 5.5.1 no AUTH now")
		return
	case !slices.Contains(c.s.mechanisms, mech):
		c.answer(AUTH, "504 5.5.4 mechanism not known")
		return
	}
	user, ok := "", false
	switch mech {
	case "PLAIN":
		user, ok = c.authPlain(initial, has)
	case "LOGIN":
		user, ok = c.authLogin(initial, has)
	case "CRAM-MD5":
		user, ok = c.authCram()
	}
	if c.over || !ok && user == "" {
		return // the answer is given, or nobody is there to hear it
	}
	at := AuthReply
	if mech == "PLAIN" && has {
		at = AUTH
	}
	if !ok {
		c.answer(at, "535 5.7.8 authentication failed")
		return
	}
	if c.answer(at, "235 2.7.0 welcome") {
		c.user = user
	}
}

// ask sends a challenge and gets the answer. The client may cancel.
func (c *conn) ask(at Stage, challenge string) (string, bool) {
	if !c.answer(at, "334 "+base64.StdEncoding.EncodeToString([]byte(challenge))) {
		return "", false
	}
	line, ok := c.line()
	if !ok {
		return "", false
	}
	return c.decode(line)
}

func (c *conn) decode(line string) (string, bool) {
	if line == "*" {
		c.write("501 5.7.0 cancelled\r\n")
		return "", false
	}
	if line == "=" {
		return "", true
	}
	b, err := base64.StdEncoding.DecodeString(line)
	if err != nil {
		c.violation("a response in AUTH that is not base64")
		c.write("501 5.5.2 not base64\r\n")
		return "", false
	}
	return string(b), true
}

func (c *conn) authPlain(initial string, has bool) (string, bool) {
	text, ok := "", true
	if has {
		text, ok = c.decode(initial)
	} else {
		text, ok = c.ask(AUTH, "")
	}
	if !ok {
		return "", false
	}
	parts := strings.Split(text, "\x00")
	if len(parts) != 3 || parts[1] == "" {
		return "?", false
	}
	return parts[1], parts[1] == c.s.user && parts[2] == c.s.pass
}

func (c *conn) authLogin(initial string, has bool) (string, bool) {
	user, ok := "", true
	if has {
		user, ok = c.decode(initial)
	} else {
		user, ok = c.ask(AUTH, "User Name")
	}
	if !ok {
		return "", false
	}
	pass, ok := c.ask(AuthReply, "Password")
	if !ok {
		return "", false
	}
	return cmp.Or(user, "?"), user == c.s.user && pass == c.s.pass
}

func (c *conn) authCram() (string, bool) {
	challenge := fmt.Sprintf("<%d.%p@%s>", c.n, c, c.s.name)
	answer, ok := c.ask(AUTH, challenge)
	if !ok {
		return "", false
	}
	user, digest, _ := strings.Cut(answer, " ")
	h := hmac.New(md5.New, []byte(c.s.pass))
	h.Write([]byte(challenge))
	return cmp.Or(user, "?"), user == c.s.user && digest == hex.EncodeToString(h.Sum(nil))
}
