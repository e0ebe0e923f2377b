package sasl

import (
	"bytes"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // SCRAM-SHA-1
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strconv"
	"strings"

	"github.com/maildriver/maildriver/driver"
)

// The iterations that a server may ask for. RFC 5802 section 5.1 and RFC 7677
// section 4 have the lower bound: with fewer, what a false server gets is worth
// cracking. The upper one, some tenths of a second, bounds what it can make us
// compute.
const (
	minIterations = 4096
	maxIterations = 1_000_000
)

const (
	maxSalt       = 1024
	maxNonce      = 1024
	maxScramError = 64
)

// scram is SCRAM with any hash (RFC 5802, RFC 7677).
type scram struct {
	name      string
	hash      func() hash.Hash
	user      string
	password  driver.Secret
	gs2       string // the header: flag of channel binding, no authorization identity
	binding   []byte // what is bound, without the header
	unbound   bool   // the server does not know the type of binding
	nonce     string // ours; made by Start if empty
	bare      string // the first message without the header
	signature []byte // what the server must show
	done      bool
}

// scram decides on the channel binding. Without a -PLUS on offer the flag is y
// where we could have bound: a server that does offer -PLUS then sees that
// someone took it out of the list (RFC 5802 section 6; A06).
func (p *Peer) scram(name string, offered []string) *scram {
	s := &scram{name: name, hash: sha256.New, user: p.Network.User, password: p.Network.Password, gs2: "n,,"}
	base, plus := strings.CutSuffix(name, "-PLUS")
	if base == "SCRAM-SHA-1" {
		s.hash = sha1.New
	}
	kind, data := p.binding()
	switch {
	case plus:
		s.gs2, s.binding = "p="+kind+",,", data
	case kind != "" && !slices.ContainsFunc(offered, func(o string) bool {
		o = strings.ToUpper(o)
		return strings.HasPrefix(o, "SCRAM-") && strings.HasSuffix(o, "-PLUS")
	}):
		s.gs2 = "y,,"
	}
	return s
}

// bindTo binds the next exchange in another way. It reports whether that is new.
func (s *scram) bindTo(kind string, data []byte) bool {
	gs2 := "p=" + kind + ",,"
	if data == nil || !strings.HasPrefix(s.gs2, "p=") || s.gs2 == gs2 {
		return false
	}
	s.gs2, s.binding, s.nonce, s.unbound = gs2, data, "", false
	return true
}

func (s *scram) Start() (string, []byte, error) {
	name, err := saslPrep(s.user)
	if err != nil {
		return s.name, nil, fmt.Errorf("%s: the user name %w", s.name, err)
	}
	if s.nonce == "" {
		s.nonce = rand.Text()
	}
	s.bare = "n=" + escapeName(name) + ",r=" + s.nonce
	s.signature, s.done = nil, false
	return s.name, []byte(s.gs2 + s.bare), nil
}

func (s *scram) Next(challenge []byte) ([]byte, error) {
	var answer []byte
	var err error
	switch {
	case s.done:
		err = errors.New("a challenge too many")
	case s.signature == nil:
		answer, err = s.prove(string(challenge))
	default:
		answer, err = []byte{}, s.verify(string(challenge))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	return answer, nil
}

// prove answers the server's first message.
func (s *scram) prove(first string) ([]byte, error) {
	if err := s.refusal(first); err != nil {
		return nil, err
	}
	nonce, salt, iterations, err := parseServerFirst(first, s.nonce)
	if err != nil {
		return nil, err
	}
	password, err := saslPrep(s.password.Reveal())
	if err != nil {
		return nil, fmt.Errorf("the password %w", err)
	}
	salted, err := pbkdf2.Key(s.hash, password, salt, iterations, s.hash().Size())
	if err != nil {
		return nil, err
	}
	clientKey := s.hmac(salted, "Client Key")
	stored := s.hash()
	stored.Write(clientKey)
	final := "c=" + base64.StdEncoding.EncodeToString(append([]byte(s.gs2), s.binding...)) + ",r=" + nonce
	message := s.bare + "," + first + "," + final
	proof := s.hmac(stored.Sum(nil), message)
	for i := range proof {
		proof[i] ^= clientKey[i]
	}
	s.signature = s.hmac(s.hmac(salted, "Server Key"), message)
	return []byte(final + ",p=" + base64.StdEncoding.EncodeToString(proof)), nil
}

func (s *scram) hmac(key []byte, message string) []byte {
	h := hmac.New(s.hash, key)
	h.Write([]byte(message))
	return h.Sum(nil)
}

// verify checks the server's final message.
func (s *scram) verify(final string) error {
	attr, _, _ := strings.Cut(final, ",")
	if err := s.refusal(attr); err != nil {
		return err
	}
	text, ok := strings.CutPrefix(attr, "v=")
	signature, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || !hmac.Equal(signature, s.signature) {
		return driver.ErrServerProof
	}
	s.done = true
	return nil
}

// refusal reads e=reason (RFC 5802 section 7).
func (s *scram) refusal(attr string) error {
	reason, ok := strings.CutPrefix(attr, "e=")
	if !ok {
		return nil
	}
	s.unbound = reason == "unsupported-channel-binding-type"
	return fmt.Errorf("the server refuses: %.*q", maxScramError, reason)
}

// Complete fails before the server has proved that it knows the password.
func (s *scram) Complete() error {
	if !s.done {
		return fmt.Errorf("%s: %w", s.name, driver.ErrServerProof)
	}
	return nil
}

// parseServerFirst reads "r=nonce,s=salt,i=iterations" (RFC 5802 section 7).
func parseServerFirst(first, ours string) (nonce string, salt []byte, iterations int, err error) {
	attrs := strings.Split(first, ",")
	if strings.HasPrefix(attrs[0], "m=") {
		return "", nil, 0, errors.New("the server demands an extension that is not known here")
	}
	if len(attrs) < 3 || !strings.HasPrefix(attrs[0], "r=") || !strings.HasPrefix(attrs[1], "s=") || !strings.HasPrefix(attrs[2], "i=") {
		return "", nil, 0, errors.New("the server's first message lacks nonce, salt or iterations, or their order")
	}
	nonce = attrs[0][2:]
	switch {
	case len(nonce) > maxNonce:
		return "", nil, 0, fmt.Errorf("a nonce of %d bytes, the limit is %d: %w", len(nonce), maxNonce, driver.ErrLimit)
	case !strings.HasPrefix(nonce, ours) || len(nonce) == len(ours):
		return "", nil, 0, errors.New("the server's nonce does not continue ours")
	case strings.ContainsFunc(nonce, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", nil, 0, errors.New("the server's nonce is not printable")
	}
	salt, err = base64.StdEncoding.DecodeString(attrs[1][2:])
	if err != nil || len(salt) == 0 || len(salt) > maxSalt {
		return "", nil, 0, fmt.Errorf("the salt is not base64 of 1 to %d bytes", maxSalt)
	}
	iterations, err = strconv.Atoi(attrs[2][2:])
	if err != nil || attrs[2][2] < '0' || attrs[2][2] > '9' || iterations < minIterations || iterations > maxIterations {
		return "", nil, 0, fmt.Errorf("the server asks for %.20q iterations, permitted are %d to %d: %w",
			attrs[2][2:], minIterations, maxIterations, driver.ErrLimit)
	}
	return nonce, bytes.Clone(salt), iterations, nil
}
