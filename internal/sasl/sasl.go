// Package sasl holds the login mechanisms and the one exchange that SMTP, POP3
// and IMAP share (RFC 4422). A protocol gives a [Conversation], and the
// exchange succeeds only with that protocol's own success reply, after the
// server's proof where the mechanism has one.
//
// Mechanisms: PLAIN (RFC 4616), LOGIN, CRAM-MD5 (RFC 2195), DIGEST-MD5 (RFC
// 2831, authentication alone), SCRAM-SHA-1 and -256 with and without channel
// binding (RFC 5802, RFC 7677, RFC 5929, RFC 9266), NTLMv2, GSSAPI without
// security layer (RFC 4752), EXTERNAL (RFC 4422), OAUTHBEARER (RFC 7628) and
// XOAUTH2.
package sasl

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/tlsbind"
)

// A Client is the client half of a mechanism, for one exchange and one
// goroutine. It is the Client of go-sasl.
type Client interface {
	// Start gives the mechanism's name and the initial response, nil if the
	// server speaks first.
	Start() (mech string, ir []byte, err error)
	// Next answers a challenge. An empty answer is a non-nil empty slice.
	Next(challenge []byte) (response []byte, err error)
}

// A completer is a Client that knows whether the server has done its part. A
// success that comes before that is none.
type completer interface {
	Complete() error
}

// A Peer is what a login knows of the server and the connection.
type Peer struct {
	// Network has the credentials.
	Network *driver.Network
	// Service is the protocol's GSS-API service name: "smtp", "pop" or "imap".
	Service string
	// Host is the name of the server as configured, Port its port.
	Host string
	Port int
	// TLS is the state of the TLS connection; nil in clear.
	TLS *tls.ConnectionState
}

// The protocols' own ways to log in, which take part in the choice and are the
// protocol's business after it.
const (
	User      = "USER"      // USER and PASS of POP3 (RFC 1939 section 7)
	APOP      = "APOP"      // APOP of POP3
	ClearText = "CLEARTEXT" // the LOGIN command of IMAP (RFC 3501 section 6.2.3)
)

// The written orders: the strongest first. SCRAM comes before all else, with
// the server's proof and nothing that could be replayed. In TLS to the right
// server a plain mechanism comes before the digests, for which servers must keep
// passwords in clear (RFC 6331 has more against DIGEST-MD5). In clear, or in TLS
// to whomever, only the digests hide the password. NTLM is used only if named:
// what it shows can be cracked.
var (
	inTLS = []string{
		"SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1",
		"PLAIN", "LOGIN", User, ClearText, "DIGEST-MD5", "CRAM-MD5", APOP,
	}
	inClear = []string{
		"SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1",
		"DIGEST-MD5", "CRAM-MD5", APOP, "PLAIN", "LOGIN", User, ClearText,
	}
	withToken  = []string{"OAUTHBEARER", "XOAUTH2"}
	withTicket = []string{"GSSAPI"}
)

// order is what may be used, in order of preference. Who gives a token source
// or a negotiator wants that used: Auto never falls back to the password then.
func (p *Peer) order() []string {
	n := p.Network
	switch {
	case len(n.Mechanisms) > 0:
		return n.Mechanisms
	case n.Tokens != nil:
		return withToken
	case n.Negotiator != nil:
		return withTicket
	case p.TLS == nil || n.InsecureSkipVerify:
		return p.possible(inClear)
	}
	return p.possible(inTLS)
}

// possible leaves out what is another protocol's, or needs TLS, so that errors
// speak of what could have been.
func (p *Peer) possible(order []string) []string {
	var list []string
	for _, name := range order {
		switch {
		case (name == User || name == APOP) && p.Service != "pop",
			name == ClearText && p.Service != "imap",
			strings.HasSuffix(name, "-PLUS") && p.TLS == nil:
			continue
		}
		list = append(list, name)
	}
	return list
}

// A row is what the choice knows of a mechanism.
type row struct {
	plain bool     // the server, or who listens without TLS, learns the password or token
	named bool     // in clear it must be named, permission alone is not enough
	needs []needOf // what it cannot do without
}

// A needOf tells what p lacks, "" if nothing.
type needOf func(p *Peer) string

var rows = map[string]row{
	"EXTERNAL":           {},
	"PLAIN":              {plain: true, needs: []needOf{password}},
	"LOGIN":              {plain: true, needs: []needOf{password}},
	"CRAM-MD5":           {needs: []needOf{password}},
	"DIGEST-MD5":         {needs: []needOf{password}},
	"SCRAM-SHA-1":        {needs: []needOf{password}},
	"SCRAM-SHA-256":      {needs: []needOf{password}},
	"SCRAM-SHA-1-PLUS":   {needs: []needOf{password, channel}},
	"SCRAM-SHA-256-PLUS": {needs: []needOf{password, channel}},
	"NTLM":               {needs: []needOf{password}},
	"GSSAPI":             {needs: []needOf{negotiator}},
	"OAUTHBEARER":        {plain: true, named: true, needs: []needOf{tokens}},
	"XOAUTH2":            {plain: true, named: true, needs: []needOf{tokens, user}},
	User:                 {plain: true, needs: []needOf{password}},
	ClearText:            {plain: true, needs: []needOf{password}},
	APOP:                 {needs: []needOf{password}},
}

func user(p *Peer) string {
	if p.Network.User == "" {
		return "a user name (driver.WithLogin)"
	}
	return ""
}

func password(p *Peer) string {
	if p.Network.User == "" || p.Network.Password.IsZero() {
		return "user name and password (driver.WithLogin)"
	}
	return ""
}

func tokens(p *Peer) string {
	if p.Network.Tokens == nil {
		return "access tokens (driver.WithTokenSource)"
	}
	return ""
}

func negotiator(p *Peer) string {
	if p.Network.Negotiator == nil {
		return "Kerberos (driver.WithNegotiator)"
	}
	return ""
}

func channel(p *Peer) string {
	if kind, _ := p.binding(); kind == "" {
		return "a TLS connection that can be bound"
	}
	return ""
}

// binding gives the channel binding for SCRAM, "" if there is none: tls-exporter
// with TLS 1.3 (RFC 9266), else tls-server-end-point. tls-unique is left out: it
// is not defined for TLS 1.3, and before that not safe without the extended
// master secret.
func (p *Peer) binding() (kind string, data []byte) {
	if p.TLS == nil {
		return "", nil
	}
	if data, err := tlsbind.Exporter(p.TLS); err == nil {
		return tlsbind.TypeExporter, data
	}
	if data := tlsbind.EndPointHash(p.TLS); data != nil {
		return tlsbind.TypeEndPoint, data
	}
	return "", nil
}

// Wanted reports whether a login is asked for: by what to log in with, or by what
// says how. If only the latter is there, [Choose] says what is missing, rather
// than that mail goes out with no login where one was meant.
func Wanted(n *driver.Network) bool {
	return n.User != "" || n.Tokens != nil || n.Negotiator != nil || len(n.Mechanisms) > 0 || n.Domain != "" || n.SPN != ""
}

// account is an error if nothing that may be used could be, whatever the server
// offers, because it is not said who logs in.
func (p *Peer) account(order []string) error {
	n := p.Network
	if n.User != "" || n.Tokens != nil || n.Negotiator != nil {
		return nil
	}
	var missing []string
	for _, name := range order {
		r, known := rows[name]
		if !known || len(r.needs) == 0 {
			return nil // EXTERNAL, and the host's own
		}
		if lacks := r.lacks(p); !slices.Contains(missing, lacks) {
			missing = append(missing, lacks)
		}
	}
	return authError(driver.KindConfig, fmt.Errorf("there is nothing to log in with; %s would need %s", strings.Join(order, ", "), strings.Join(missing, ", or ")))
}

// Choose picks the mechanism for a login among those that the server offers (any
// letter case; the protocol adds its own ways).
//
//   - The host's order, if it gave one, else the written order of this package.
//   - Without an account, a token source or a negotiator there is nothing to
//     choose: an error of kind config, unless EXTERNAL or a mechanism of the
//     host's own may be used.
//   - Mechanisms that tell the password need TLS or the host's permission
//     (AllowInsecureAuth); those that tell a token need the permission and
//     their name in the host's order.
//   - There is one try and no second with the next mechanism: a wrong password
//     sent twice locks accounts sooner, and a server that refuses the strong
//     way must not be shown the password for it (A06).
//
// If only mechanisms that are not permitted in clear remain, the error wraps
// [driver.ErrInsecureAuth] and is of kind policy. If nothing remains it is a
// [*driver.MechanismError], of kind auth.
func Choose(offered []string, p *Peer) (string, error) {
	order := p.order()
	if err := p.account(order); err != nil {
		return "", err
	}
	miss := &driver.MechanismError{Wanted: slices.Clone(order), Offered: slices.Clone(offered)}
	insecure := ""
	for _, name := range order {
		r, known := rows[name]
		if _, custom := p.Network.Custom[name]; custom {
			r, known = row{plain: true}, true
		}
		if !known {
			miss.Unknown = append(miss.Unknown, name)
			continue
		}
		if !slices.ContainsFunc(offered, func(o string) bool { return strings.EqualFold(o, name) }) {
			continue
		}
		if lacks := r.lacks(p); lacks != "" {
			miss.Lacking = append(miss.Lacking, name+" needs "+lacks)
			continue
		}
		if r.plain && p.TLS == nil && (!p.Network.AllowInsecureAuth || r.named && len(p.Network.Mechanisms) == 0) {
			insecure = cmp.Or(insecure, name)
			continue
		}
		return name, nil
	}
	if insecure != "" {
		return "", authError(driver.KindPolicy, fmt.Errorf("%w: mechanism %s", driver.ErrInsecureAuth, insecure))
	}
	return "", authError(driver.KindAuth, miss)
}

func (r *row) lacks(p *Peer) string {
	for _, need := range r.needs {
		if s := need(p); s != "" {
			return s
		}
	}
	return ""
}

// NewPeer describes the server at addr (host:port). cs is used if secure.
func NewPeer(n *driver.Network, service, addr string, cs tls.ConnectionState, secure bool) *Peer {
	p := &Peer{Network: n, Service: service, Host: addr}
	if host, port, err := net.SplitHostPort(addr); err == nil {
		p.Host = host
		p.Port, _ = strconv.Atoi(port)
	}
	if n.ServerName != "" {
		p.Host = n.ServerName
	}
	if secure {
		p.TLS = &cs
	}
	return p
}

// Scrub takes secrets out of a text that a server sent.
func Scrub(text string, secrets []string) string {
	for _, secret := range secrets {
		if secret == "" || !strings.Contains(text, secret) {
			continue
		}
		if len(secret) < 4 {
			return "(a text that repeats a secret)"
		}
		text = strings.ReplaceAll(text, secret, "[secret]")
	}
	return text
}
