package sasl

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
)

// bearer is OAUTHBEARER (RFC 7628) or XOAUTH2, which Google and Microsoft
// document and which differs in the words only.
type bearer struct {
	name, user, host string
	port             int
	token            string

	status, scope string // what a refusal said
	told          bool
}

func (b *bearer) Start() (string, []byte, error) {
	const sep = "\x01"
	auth := "auth=Bearer " + b.token + sep + sep
	if b.name == "XOAUTH2" {
		return b.name, []byte("user=" + b.user + sep + auth), nil
	}
	head := "n,,"
	if b.user != "" {
		head = "n,a=" + escapeName(b.user) + ","
	}
	head += sep + "host=" + b.host + sep
	if b.port > 0 {
		head += "port=" + strconv.Itoa(b.port) + sep
	}
	return b.name, []byte(head + auth), nil
}

// Next takes the reason of a refusal. The refusal itself comes only after an
// answer without meaning (RFC 7628 section 3.2.3).
func (b *bearer) Next(challenge []byte) ([]byte, error) {
	if b.told {
		return nil, errors.New(b.name + ": a second challenge")
	}
	b.told = true
	var reason struct{ Status, Scope string }
	if json.Unmarshal(challenge, &reason) == nil {
		b.status, b.scope = b.tellable(reason.Status), b.tellable(reason.Scope)
	}
	if b.name == "XOAUTH2" {
		return []byte{}, nil
	}
	return []byte{1}, nil
}

func (b *bearer) tellable(s string) string {
	if strings.Contains(s, b.token) {
		return ""
	}
	return s
}

// escapeName writes a saslname (RFC 5801 section 4, RFC 5802 section 5.1).
func escapeName(s string) string {
	return strings.NewReplacer("=", "=3D", ",", "=2C").Replace(s)
}
