package driver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"
)

// Security says how a connection is protected.
type Security uint8

// The ways to protect a connection.
const (
	// SecurityNone is plain text. Credentials are then sent only by mechanisms
	// that hide them, unless WithInsecureAuth permits more.
	SecurityNone Security = iota
	// SecurityExplicit upgrades with STARTTLS (SMTP, IMAP) or STLS (POP3)
	// before anything else is said. It is required: a server that does not
	// offer it ends the session (RFC 3207, RFC 2595).
	SecurityExplicit
	// SecurityImplicit speaks TLS from the first byte (RFC 8314).
	SecurityImplicit
)

func (s Security) String() string {
	switch s {
	case SecurityNone:
		return "none"
	case SecurityExplicit:
		return "explicit"
	case SecurityImplicit:
		return "implicit"
	}
	return fmt.Sprintf("security(%d)", uint8(s))
}

// DefaultTimeout bounds the set-up of a connection (look-up, dial, TLS and
// greeting together) and, apart from that, every wait for the peer.
const DefaultTimeout = 60 * time.Second

// A Secret is a password or token. It prints as "[secret]" in every form; only
// Reveal gives the text.
type Secret struct{ text string }

// NewSecret wraps text.
func NewSecret(text string) Secret { return Secret{text} }

// Reveal returns the text.
func (s Secret) Reveal() string { return s.text }

// IsZero reports whether the secret is empty.
func (s Secret) IsZero() bool { return s.text == "" }

func (s Secret) String() string               { return "[secret]" }
func (s Secret) GoString() string             { return "[secret]" }
func (s Secret) LogValue() slog.Value         { return slog.StringValue("[secret]") }
func (s Secret) MarshalText() ([]byte, error) { return []byte("[secret]"), nil }

// Format keeps the text out of every verb of fmt, %x included.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[secret]")) }

// DialFunc opens a connection, as net.Dialer.DialContext does.
type DialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// Network holds what the shared connection options set. A protocol package
// passes a *Network to [Apply] and hands it to its dialer. A copy is
// independent of the original.
type Network struct {
	Security Security
	// Timeout is for set-up and for each wait; never zero once made by
	// NewNetwork.
	Timeout time.Duration
	// ServerName is the name that the server's certificate must have; "" means
	// the host of the address.
	ServerName string
	// RootCAs are the trust anchors; nil means the system's.
	RootCAs *x509.CertPool
	// Certificates are offered to servers that ask for one.
	Certificates []tls.Certificate
	// InsecureSkipVerify accepts any certificate.
	InsecureSkipVerify bool
	// Dial opens connections; nil means a net.Dialer.
	Dial DialFunc

	// User and Password log in; an empty User means no login.
	User     string
	Password Secret
	// Mechanisms restricts login to these, in this order: upper-case SASL
	// names, or the protocol's own USER, APOP, LOGIN; empty means the
	// strongest on offer.
	Mechanisms []string
	// AllowInsecureAuth permits credentials in clear without TLS.
	AllowInsecureAuth bool
}

// NewNetwork returns the defaults.
func NewNetwork() Network { return Network{Timeout: DefaultTimeout} }

// TLSConfig returns the configuration for a connection to host: TLS 1.2 or
// later, verified unless WithInsecureSkipVerify said otherwise.
func (n *Network) TLSConfig(host string) *tls.Config {
	if n.ServerName != "" {
		host = n.ServerName
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         host,
		RootCAs:            n.RootCAs,
		Certificates:       n.Certificates,
		InsecureSkipVerify: n.InsecureSkipVerify, //nolint:gosec // only where the host asked for it by name
	}
}

func netOption(name string, set func(*Network) error) Option {
	return NewOption("driver."+name, set)
}

// WithSecurity chooses how connections are protected; the default is
// [SecurityNone], as in the documents, so that credentials need
// [WithInsecureAuth] then.
func WithSecurity(s Security) Option {
	return netOption("Security", func(n *Network) error {
		if s > SecurityImplicit {
			return fmt.Errorf("%v is not one of none, explicit, implicit", s)
		}
		n.Security = s
		return nil
	})
}

// WithTimeout bounds connection set-up, and every wait for the peer after
// that; default [DefaultTimeout].
func WithTimeout(d time.Duration) Option {
	return netOption("Timeout", func(n *Network) error {
		if d <= 0 {
			return fmt.Errorf("%v is not positive", d)
		}
		n.Timeout = d
		return nil
	})
}

// WithLogin sets the account. Both must hold no control characters.
func WithLogin(user, password string) Option {
	return netOption("Login", func(n *Network) error {
		if user == "" {
			return errors.New("the user name is empty")
		}
		if strings.ContainsFunc(user, isControl) {
			return errors.New("the user name holds a control character")
		}
		if strings.ContainsFunc(password, isControl) {
			return errors.New("the password holds a control character")
		}
		n.User, n.Password = user, NewSecret(password)
		return nil
	})
}

// WithMechanisms restricts login to the named mechanisms, the first one that
// the server offers being used. Names are those of IANA ("PLAIN", "LOGIN") or
// the protocol's own ("USER", "APOP" for POP3).
func WithMechanisms(names ...string) Option {
	return netOption("Mechanisms", func(n *Network) error {
		list := make([]string, 0, len(names))
		for _, name := range names {
			if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) {
				return fmt.Errorf("%q is not a mechanism name", name)
			}
			list = append(list, strings.ToUpper(name))
		}
		n.Mechanisms = list
		return nil
	})
}

// WithInsecureAuth permits sending credentials in clear over a connection
// without TLS.
func WithInsecureAuth() Option {
	return netOption("InsecureAuth", func(n *Network) error { n.AllowInsecureAuth = true; return nil })
}

// WithRootCAs replaces the system's trust anchors.
func WithRootCAs(pool *x509.CertPool) Option {
	return netOption("RootCAs", func(n *Network) error {
		if pool == nil {
			return errors.New("the pool is nil")
		}
		n.RootCAs = pool
		return nil
	})
}

// WithServerName sets the name the server's certificate must have, for servers
// reached by another name or an address.
func WithServerName(name string) Option {
	return netOption("ServerName", func(n *Network) error { n.ServerName = name; return nil })
}

// WithClientCertificate offers a certificate to servers that ask for one.
func WithClientCertificate(c tls.Certificate) Option {
	return netOption("ClientCertificate", func(n *Network) error {
		if len(c.Certificate) == 0 || c.PrivateKey == nil {
			return errors.New("certificate or private key is missing")
		}
		n.Certificates = append(n.Certificates[:len(n.Certificates):len(n.Certificates)], c)
		return nil
	})
}

// WithInsecureSkipVerify accepts any server certificate, which leaves the
// connection open to anyone on the path. Each use is logged as a warning.
func WithInsecureSkipVerify() Option {
	return netOption("InsecureSkipVerify", func(n *Network) error { n.InsecureSkipVerify = true; return nil })
}

// WithDialer replaces the way connections are opened, for hosts that have
// their own network, and for tests.
func WithDialer(dial DialFunc) Option {
	return netOption("Dialer", func(n *Network) error {
		if dial == nil {
			return errors.New("the function is nil")
		}
		n.Dial = dial
		return nil
	})
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) }
