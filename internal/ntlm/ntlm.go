// Package ntlm is the client half of NTLMv2 ([MS-NLMP]), for SASL and HTTP. It
// never answers with NTLMv1 or LM, sends a message integrity code whenever the
// server gives a timestamp, and binds the login to the TLS connection and to
// the service name if told both. It only logs in: the messages that follow are
// neither signed nor sealed, for which there is TLS.
package ntlm

import (
	"bytes"
	"crypto/rand"
	"crypto/rc4" //nolint:gosec // MS-NLMP section 3.1.5.1.2 wraps the session key with it
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Errors of Authenticate.
var (
	// ErrNotV2 says that the server cannot take NTLMv2. There is no way around
	// that: NTLMv1 and LM give the password away.
	ErrNotV2 = errors.New("NTLM: the server's challenge permits no NTLMv2, and NTLMv1 is never used")
	// ErrChallenge is in the error for a challenge that is not well formed.
	ErrChallenge = errors.New("NTLM: bad challenge")
	// ErrOrder says that Authenticate was called before Negotiate, or twice.
	ErrOrder = errors.New("NTLM: message out of order")
)

// A Client logs in. It is used by one goroutine; the messages are made by
// Negotiate and then Authenticate, and anew for another login.
type Client struct {
	// User is the account. DOMAIN\user is taken apart if Domain is empty;
	// user@domain goes as it is, with no domain.
	User     string
	Domain   string
	Password string
	// Workstation is this machine's name; "" tells none.
	Workstation string
	// SPN is the service principal name, such as "HTTP/mail.example.com"; ""
	// sends none.
	SPN string
	// ChannelBinding is the application data of RFC 5056: the bytes
	// "tls-server-end-point:" and the hash of the server's certificate, as
	// tlsbind.EndPoint gives it; nil sends no binding.
	ChannelBinding []byte

	negotiate []byte
	test      *fixed // nil but in tests
}

// fixed holds what is random otherwise.
type fixed struct {
	challenge [8]byte
	key       [16]byte
	now       time.Time
}

// Flags of MS-NLMP section 2.2.2.5.
const (
	flagUnicode         = 1 << 0
	flagRequestTarget   = 1 << 2
	flagSign            = 1 << 4
	flagSeal            = 1 << 5
	flagNTLM            = 1 << 9
	flagAlwaysSign      = 1 << 15
	flagExtendedSession = 1 << 19
	flagTargetInfo      = 1 << 23
	flagVersion         = 1 << 25
	flag128             = 1 << 29
	flagKeyExchange     = 1 << 30
	flag56              = 1 << 31
)

// wanted is what Negotiate asks for. Nothing will be signed, but servers take
// the integrity code only from clients that could.
const wanted = flagUnicode | flagRequestTarget | flagSign | flagNTLM | flagAlwaysSign |
	flagExtendedSession | flagTargetInfo | flagVersion | flag128 | flagKeyExchange | flag56

const signature = "NTLMSSP\x00"

// version is the field of MS-NLMP section 2.2.2.10, for debugging alone: revision
// 15 of NTLM, from a product of no name. Some servers refuse messages without.
var version = [8]byte{7: 15}

// Negotiate makes the first message (MS-NLMP section 2.2.1.1). It tells neither
// domain nor workstation: there is no secret yet, and no need.
func (c *Client) Negotiate() []byte {
	m := append([]byte(signature), 1, 0, 0, 0)
	m = binary.LittleEndian.AppendUint32(m, wanted)
	m = append(m, make([]byte, 16)...)
	m = append(m, version[:]...)
	c.negotiate = m
	return bytes.Clone(m)
}

// Authenticate answers the server's challenge with the third message (MS-NLMP
// section 2.2.1.3). Its errors are [ErrNotV2], or wrap [ErrChallenge] or
// [ErrOrder]; they hold nothing of the challenge.
func (c *Client) Authenticate(challenge []byte) ([]byte, error) {
	if c.negotiate == nil {
		return nil, ErrOrder
	}
	negotiate := c.negotiate
	c.negotiate = nil
	ch, err := parseChallenge(challenge)
	if err != nil {
		return nil, err
	}
	user, domain := c.account()
	var nonce [8]byte
	var key [16]byte
	now := time.Now()
	if _, err := rand.Read(nonce[:]); err != nil {
		return nil, err
	}
	if _, err := rand.Read(key[:]); err != nil {
		return nil, err
	}
	if c.test != nil {
		nonce, key, now = c.test.challenge, c.test.key, c.test.now
	}

	info, timestamp := c.answerInfo(ch.info)
	withMIC := timestamp != 0
	if !withMIC {
		timestamp = fileTime(now)
	}
	response, base := respond(hashV2(user, domain, c.Password), ch.nonce, nonce, timestamp, info.encode())

	flags := ch.flags & wanted
	exported, sealed := base, []byte(nil)
	if flags&flagKeyExchange != 0 && flags&(flagSign|flagSeal) != 0 {
		exported = key
		sealed = make([]byte, len(key))
		stream, err := rc4.NewCipher(base[:]) //nolint:gosec // as above
		if err != nil {
			return nil, err
		}
		stream.XORKeyStream(sealed, key[:])
	}
	lm := make([]byte, 24) // Z(24): no LM response in any form
	m, err := layout(flags, withMIC, lm, response, utf16le(domain), utf16le(user), utf16le(c.Workstation), sealed)
	if err != nil {
		return nil, err
	}
	if withMIC {
		copy(m[micOffset:], hmacMD5(exported[:], negotiate, challenge, m))
	}
	return m, nil
}

func (c *Client) account() (user, domain string) {
	if c.Domain == "" {
		if d, u, ok := strings.Cut(c.User, `\`); ok {
			return u, d
		}
	}
	return c.User, c.Domain
}

const (
	micOffset  = 72
	micLength  = 16
	maxPayload = 1 << 16 // lengths have 16 bits
)

// layout writes the third message. The parts are those of the header, in its
// order; the payload has the names first, as Windows does.
func layout(flags uint32, withMIC bool, parts ...[]byte) ([]byte, error) {
	head := micOffset
	if withMIC {
		head += micLength
	}
	m := make([]byte, head)
	copy(m, signature)
	m[8] = 3
	binary.LittleEndian.PutUint32(m[60:], flags)
	copy(m[64:], version[:])
	for _, i := range []int{2, 3, 4, 0, 1, 5} {
		if len(parts[i]) >= maxPayload {
			return nil, fmt.Errorf("NTLM: a field of %d bytes; the protocol has room for %d", len(parts[i]), maxPayload-1)
		}
		field := m[12+8*i:]
		binary.LittleEndian.PutUint16(field, uint16(len(parts[i])))
		binary.LittleEndian.PutUint16(field[2:], uint16(len(parts[i])))
		binary.LittleEndian.PutUint32(field[4:], uint32(len(m)))
		m = append(m, parts[i]...)
	}
	return m, nil
}
