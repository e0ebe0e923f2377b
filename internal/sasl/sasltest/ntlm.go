package sasltest

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/rc4"
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"time"
	"unicode/utf16"

	client "github.com/maildriver/maildriver/internal/ntlm"
)

// ntlm is NTLMv2 as a server with Extended Protection demands it: integrity
// code, channel binding in TLS, service name.
type ntlm struct {
	s                    Setting
	negotiate, challenge []byte
}

const ntlmFlags = 1<<0 | 1<<2 | 1<<4 | 1<<9 | 1<<15 | 1<<19 | 1<<23 | 1<<25 | 1<<29 | 1<<30 | 1<<31

var le = binary.LittleEndian

func (n *ntlm) Next(response []byte) ([]byte, bool, string, error) {
	switch {
	case response == nil:
		return []byte{}, false, "", nil
	case n.negotiate == nil:
		if len(response) < 40 || string(response[:8]) != "NTLMSSP\x00" || le.Uint32(response[8:]) != 1 {
			return nil, false, "", malformed("NTLM: first message")
		}
		n.negotiate = bytes.Clone(response)
		n.challenge = ntlmChallenge()
		return n.challenge, false, "", nil
	}
	user, err := n.check(response)
	return nil, err == nil, user, err
}

func ntlmChallenge() []byte {
	pair := func(id uint16, value []byte) []byte {
		return append(le.AppendUint16(le.AppendUint16(nil, id), uint16(len(value))), value...)
	}
	stamp := uint64(time.Now().Unix()+11644473600) * 1e7
	info := bytes.Join([][]byte{
		pair(2, utf16le("DOMAIN")), pair(1, utf16le("SERVER")), pair(7, le.AppendUint64(nil, stamp)), pair(0, nil),
	}, nil)
	b := append([]byte("NTLMSSP\x00"), 2, 0, 0, 0)
	b = append(b, make([]byte, 8)...)
	b = le.AppendUint32(b, ntlmFlags)
	nonce := make([]byte, 8)
	_, _ = rand.Read(nonce)
	b = append(b, nonce...)
	b = append(b, make([]byte, 8)...)
	b = le.AppendUint16(b, uint16(len(info)))
	b = le.AppendUint16(b, uint16(len(info)))
	b = le.AppendUint32(b, 56)
	b = append(b, make([]byte, 8)...)
	return append(b, info...)
}

func (n *ntlm) check(m []byte) (string, error) {
	if len(m) < 88 || string(m[:8]) != "NTLMSSP\x00" || le.Uint32(m[8:]) != 3 {
		return "", malformed("NTLM: third message")
	}
	field := func(i int) []byte {
		size, at := int(le.Uint16(m[12+8*i:])), int(le.Uint32(m[16+8*i:]))
		if at < 88 || at+size > len(m) {
			return nil
		}
		return m[at : at+size]
	}
	lm, nt, domain, user, key := field(0), field(1), field(2), field(3), field(5)
	switch {
	case len(bytes.Trim(lm, "\x00")) > 0:
		return "", malformed("NTLM: an LM response")
	case len(nt) < 48 || nt[16] != 1 || nt[17] != 1:
		return "", malformed("NTLM: not version 2")
	}
	a := n.s.find(fromUTF16(user))
	if a == nil {
		return "", ErrRefused
	}
	hash := client.NTHash(a.Password)
	v2 := mac5(hash[:], utf16le(strings.ToUpper(a.User)), domain)
	if !hmac.Equal(mac5(v2, n.challenge[24:32], nt[16:]), nt[:16]) {
		return "", ErrRefused
	}
	session := mac5(v2, nt[:16])
	if len(key) == 16 {
		stream, err := rc4.NewCipher(session)
		if err != nil {
			return "", err
		}
		session = make([]byte, 16)
		stream.XORKeyStream(session, key)
	}
	mic := bytes.Clone(m[72:88])
	clear(m[72:88])
	if !hmac.Equal(mac5(session, n.negotiate, n.challenge, m), mic) {
		return "", malformed("NTLM: integrity code")
	}
	return a.User, n.bound(nt[44:])
}

// bound checks what the client's target information says of the channel.
func (n *ntlm) bound(info []byte) error {
	pairs := map[uint16][]byte{}
	for len(info) >= 4 && le.Uint16(info) != 0 {
		size := int(le.Uint16(info[2:]))
		if 4+size > len(info) {
			return malformed("NTLM: target information")
		}
		pairs[le.Uint16(info)] = info[4 : 4+size]
		info = info[4+size:]
	}
	var want []byte
	if n.s.TLS != nil {
		hash := sha256.Sum256(n.s.Leaf)
		data := append([]byte("tls-server-end-point:"), hash[:]...)
		h := md5.Sum(append(le.AppendUint32(make([]byte, 16), uint32(len(data))), data...))
		want = h[:]
	}
	if !bytes.Equal(pairs[10], want) {
		return malformed("NTLM: channel binding")
	}
	service := n.s.Service
	if service == "smtp" {
		service = "SMTPSVC"
	}
	if n.s.Host != "" && fromUTF16(pairs[9]) != service+"/"+n.s.Host {
		return malformed("NTLM: service name %q", fromUTF16(pairs[9]))
	}
	return nil
}

func mac5(key []byte, parts ...[]byte) []byte {
	h := hmac.New(md5.New, key)
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

func utf16le(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = le.AppendUint16(b, u)
	}
	return b
}

func fromUTF16(b []byte) string {
	var u []uint16
	for ; len(b) >= 2; b = b[2:] {
		u = append(u, le.Uint16(b))
	}
	return string(utf16.Decode(u))
}
