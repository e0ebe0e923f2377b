package sasltest

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"hash"
	"slices"
	"strings"
)

// scram is SCRAM (RFC 5802). Names and passwords are taken to need no
// preparation.
type scram struct {
	s       Setting
	name    string
	hash    func() hash.Hash
	plus    bool
	account *Account

	step               int
	gs2, bare, first   string
	nonce              string
	salted             []byte
	bindKind, bindData string
}

func newScram(name string, s Setting) *scram {
	m := &scram{s: s, name: name, hash: sha256.New, plus: strings.HasSuffix(name, "-PLUS")}
	if strings.HasPrefix(name, "SCRAM-SHA-1") {
		m.hash = sha1.New
	}
	return m
}

const iterations = 4096

func (m *scram) Next(response []byte) ([]byte, bool, string, error) {
	if response == nil && m.step == 0 {
		return []byte{}, false, "", nil
	}
	m.step++
	switch m.step {
	case 0:
		return nil, false, "", ErrRefused
	case 1:
		c, err := m.begin(string(response))
		return c, false, "", err
	case 2:
		c, err := m.finish(string(response))
		return c, false, "", err
	}
	if len(response) != 0 {
		return nil, false, "", malformed("SCRAM: bytes after the server's proof")
	}
	return nil, true, m.account.User, nil
}

func (m *scram) begin(first string) ([]byte, error) {
	parts := strings.SplitN(first, ",", 3)
	if len(parts) != 3 || parts[1] != "" {
		return nil, malformed("SCRAM: no header")
	}
	m.gs2, m.bare = parts[0]+",,", parts[2]
	offersPlus := slices.ContainsFunc(m.s.Offered, func(o string) bool { return strings.HasSuffix(o, "-PLUS") })
	kind, binds := strings.CutPrefix(parts[0], "p=")
	switch {
	case binds != m.plus:
		return nil, malformed("SCRAM: %s with the flag %q", m.name, parts[0])
	case binds:
		m.bindKind = kind
		if m.s.OldBinding && kind != "tls-server-end-point" {
			m.step = -1
			return []byte("e=unsupported-channel-binding-type"), nil
		}
		if m.bindData = m.binding(kind); m.bindData == "" {
			return nil, malformed("SCRAM: channel binding %q", kind)
		}
	case parts[0] == "y" && offersPlus:
		return nil, fmt.Errorf("%w: someone took -PLUS out of the list", ErrRefused)
	case parts[0] != "y" && parts[0] != "n":
		return nil, malformed("SCRAM: flag %q", parts[0])
	}
	attrs := strings.Split(m.bare, ",")
	if len(attrs) != 2 || !strings.HasPrefix(attrs[0], "n=") || !strings.HasPrefix(attrs[1], "r=") || len(attrs[1]) < 10 {
		return nil, malformed("SCRAM: first message")
	}
	user := strings.NewReplacer("=2C", ",", "=3D", "=").Replace(attrs[0][2:])
	if m.account = m.s.find(user); m.account == nil {
		return nil, ErrRefused
	}
	salt := []byte("salt of " + m.account.User)
	var err error
	if m.salted, err = pbkdf2.Key(m.hash, m.account.Password, salt, iterations, m.hash().Size()); err != nil {
		return nil, err
	}
	m.nonce = attrs[1][2:] + rand.Text()
	m.first = fmt.Sprintf("r=%s,s=%s,i=%d", m.nonce, base64.StdEncoding.EncodeToString(salt), iterations)
	return []byte(m.first), nil
}

// binding is what the server sees of the channel.
func (m *scram) binding(kind string) string {
	switch {
	case m.s.TLS == nil:
		return ""
	case kind == "tls-exporter" && m.s.TLS.Version >= tls.VersionTLS13:
		data, err := m.s.TLS.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
		if err != nil {
			return ""
		}
		return string(data)
	case kind == "tls-server-end-point":
		sum := sha256.Sum256(m.s.Leaf) // right for the certificates of the fakes
		return string(sum[:])
	}
	return ""
}

func (m *scram) mac(key []byte, message string) []byte {
	h := hmac.New(m.hash, key)
	h.Write([]byte(message))
	return h.Sum(nil)
}

func (m *scram) finish(final string) ([]byte, error) {
	without, proof, ok := strings.Cut(final, ",p=")
	want := "c=" + base64.StdEncoding.EncodeToString([]byte(m.gs2+m.bindData)) + ",r=" + m.nonce
	if !ok || without != want {
		return nil, malformed("SCRAM: final message, or another channel")
	}
	given, err := base64.StdEncoding.DecodeString(proof)
	if err != nil {
		return nil, malformed("SCRAM: proof")
	}
	message := m.bare + "," + m.first + "," + without
	key := m.mac(m.salted, "Client Key")
	stored := m.hash()
	stored.Write(key)
	expect := m.mac(stored.Sum(nil), message)
	for i := range expect {
		expect[i] ^= key[i]
	}
	if !hmac.Equal(expect, given) {
		return nil, ErrRefused
	}
	return []byte("v=" + base64.StdEncoding.EncodeToString(m.mac(m.mac(m.salted, "Server Key"), message))), nil
}
