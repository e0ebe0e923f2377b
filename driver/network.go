package driver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
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
	// Pins are the public keys of which the server's certificate must have
	// one, or its issuers if the certificate was verified; empty means any.
	Pins []Pin
	// Dial opens connections, that to the proxy if there is one; nil means a
	// net.Dialer.
	Dial DialFunc
	// ConnectTimeout bounds connecting within the set-up, proxies included; 0
	// means that Timeout alone does.
	ConnectTimeout time.Duration
	// Proxy is the way to the server.
	Proxy Proxy
	// Policy judges the addresses that are connected to; nil permits all.
	Policy DialPolicy
	// Trace is where traces of the connections go; nil means nowhere.
	Trace TraceFunc

	// User and Password log in; an empty User means no login.
	User     string
	Password Secret
	// Mechanisms restricts login to these, in this order: upper-case SASL
	// names, or the protocol's own USER, APOP, LOGIN; empty means the
	// strongest on offer.
	Mechanisms []string
	// AllowInsecureAuth permits credentials in clear without TLS.
	AllowInsecureAuth bool
	// Credentials is what logins need apart from user and password.
	Credentials
}

// NewNetwork returns the defaults.
func NewNetwork() Network { return Network{Timeout: DefaultTimeout} }

// Resolved returns a copy in which the secrets that have a place to come from
// ([SecretFromEnv] and its like) are their texts. Drivers call it once for each
// session. The places have the connection's time-out to answer. The error is of
// kind config and names the place.
func (n *Network) Resolved(ctx context.Context) (*Network, error) {
	out := *n
	limit := n.Timeout
	if limit <= 0 {
		limit = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var errs [2]error
	out.Password, errs[0] = n.Password.Resolve(ctx)
	out.Proxy.Password, errs[1] = n.Proxy.Password.Resolve(ctx)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, &Error{Op: "secret", Kind: KindConfig, Err: err}
	}
	return &out, nil
}

// TLSConfig returns the configuration for a connection to host: TLS 1.2 or
// later, verified unless WithInsecureSkipVerify said otherwise, with a pinned key
// if there are pins.
func (n *Network) TLSConfig(host string) *tls.Config {
	if n.ServerName != "" {
		host = n.ServerName
	}
	cfg := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         host,
		RootCAs:            n.RootCAs,
		Certificates:       n.Certificates,
		InsecureSkipVerify: n.InsecureSkipVerify, //nolint:gosec // only where the host asked for it by name
	}
	if len(n.Pins) > 0 {
		cfg.VerifyConnection = pinCheck(n.Pins, host)
	}
	return cfg
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

// WithLogin sets the account. The password is a text or a [Secret]. Both must
// hold no control characters.
func WithLogin[S SecretText](user string, password S) Option {
	return netOption("Login", func(n *Network) error {
		if err := checkLogin(user, secretOf(password)); err != nil {
			return err
		}
		n.User, n.Password = user, secretOf(password)
		return nil
	})
}

func checkLogin(user string, password Secret) error {
	if user == "" {
		return errors.New("the user name is empty")
	}
	if strings.ContainsFunc(user, isControl) {
		return errors.New("the user name holds a control character")
	}
	if strings.ContainsFunc(password.Reveal(), isControl) {
		return errors.New("the password holds a control character")
	}
	return nil
}

// WithMechanisms restricts login to the named mechanisms, the first one that
// the server offers being used. Names are those of IANA ("PLAIN", "LOGIN"), of
// the documents ("DigestMD5", "OAuth20", "ClearText": see [MechanismsOf]) or the
// protocol's own ("USER", "APOP" for POP3).
//
// Without it the strongest on offer is taken: with a token source OAUTHBEARER or
// XOAUTH2; with a negotiator GSSAPI; else SCRAM, with SHA-256 before SHA-1 and
// bound to the TLS connection where the server can (behind a proxy that ends TLS
// it may say so and be wrong: name SCRAM without -PLUS then). After these come, in
// verified TLS, PLAIN, LOGIN and the protocol's own command, then DIGEST-MD5,
// CRAM-MD5 and APOP; in clear and in TLS to whomever the digests come first, and
// in clear plain ones need [WithInsecureAuth]. NTLM, EXTERNAL and what
// [WithMechanism] adds are taken only if named.
func WithMechanisms(names ...string) Option {
	return netOption("Mechanisms", func(n *Network) error {
		list := make([]string, 0, len(names))
		for _, name := range names {
			if err := checkMechanism(name); err != nil {
				return err
			}
			list = append(list, MechanismsOf(name)...)
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
// reached by another name or an address; "" is the host of the address again.
func WithServerName(name string) Option {
	return netOption("ServerName", func(n *Network) error {
		if err := CheckHost(name); name != "" && err != nil {
			return err
		}
		n.ServerName = name
		return nil
	})
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

// WithInsecureSkipVerify accepts any certificate of this driver's server, which
// leaves the connection open to anyone on the path, unless [WithPinnedKeys]
// names the server's key. Each time that it was needed is logged as a warning.
// It does not hold for a proxy.
func WithInsecureSkipVerify() Option {
	return netOption("InsecureSkipVerify", func(n *Network) error { n.InsecureSkipVerify = true; return nil })
}

// WithDialer replaces the way connections are opened, for hosts that have
// their own network, and for tests. A proxy of the environment is not used
// then, unless [WithProxy] says so. With [WithDialPolicy] the connection's
// remote address is judged once it is open, before anything is sent.
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
